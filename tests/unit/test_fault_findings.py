"""What rounds of faults have found, each as small as it gets."""

from broker.wire.request import Resume
from tests.support.waiting import eventually
from tests.unit.test_hub import RUN, at, make_stage
from tests.unit.test_subscriber import numbers


async def test_a_viewer_who_knows_the_new_run_already_is_not_reset_with_the_feed() -> None:
    """The run began anew, and this viewer comes from an edge that has noticed."""
    async with make_stage() as stage:
        stage.log.append(1, 2, 3)
        old, old_sink = await stage.connect(Resume(at(3)))
        await stage.settled(old)
        stage.log.events.clear()
        stage.log.added = 0
        stage.log.append(4, 5)
        new, new_sink = await stage.connect(Resume(at(4)))
        await stage.settled(new)
        await eventually(lambda: numbers(new_sink))
        assert numbers(new_sink) == [5]
        assert stage.hub.position(RUN) == at(5)
        assert numbers(old_sink) == [4, 5]
