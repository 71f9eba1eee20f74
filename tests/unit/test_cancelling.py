"""Tasks that make their end hard still end, and none is left behind."""

import asyncio

from broker.engine.cancelling import cancel


async def stubborn(swallowed: int) -> None:
    """Swallows that many cancellations, as `asyncio.wait_for` may before Python 3.12."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not swallowed:
                raise
            swallowed -= 1


async def test_a_lost_cancellation_is_asked_for_again() -> None:
    task = asyncio.create_task(stubborn(2))
    await asyncio.sleep(0)
    await cancel([task])
    assert task.cancelled()


async def test_an_owner_that_is_cancelled_itself_still_waits_for_its_tasks() -> None:
    inner = asyncio.create_task(stubborn(2))

    async def own() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await cancel([inner])

    owner = asyncio.create_task(own())
    await asyncio.sleep(0)
    owner.cancel()
    await asyncio.sleep(0)
    owner.cancel()
    await cancel([owner])
    assert owner.cancelled()
    assert inner.cancelled()


async def test_nothing_to_cancel() -> None:
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    await cancel([done])
