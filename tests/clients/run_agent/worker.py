"""A worker as run-agent's clients expect one: text in chunks, then `done`; or an error.

    python -m tests.clients.run_agent.worker REDIS_URL REQUESTS_KEY

The query says what to do: `"tell N"` is N chunks, `"fail"` a failure, `"overloaded"` an error of
the worker's own words, and `"wait"` nothing until it is told to cancel.
"""

import asyncio
import sys

from broker.publishing import PublishingSettings, Request, Run, worker

SECONDS_BETWEEN_CHUNKS = 0.01


def words(count: int) -> list[str]:
    """The chunks of an answer of that many."""
    return [
        f"word {number} \N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}, "
        for number in range(count)
    ]


async def answer(request: Request, run: Run) -> None:
    """One run."""
    match request.input["query"].split():
        case ["tell", count]:
            await run.emit("start", {"message": "Stream started"})
            for index, word in enumerate(words(int(count))):
                await run.emit("chunk", {"content": word, "index": index})
                await asyncio.sleep(SECONDS_BETWEEN_CHUNKS)
            usage = {"total_tokens": int(count)}
            await run.finish("done", {"usage": usage, "execution_time": 2.5})
        case ["fail"]:
            raise RuntimeError("Processing failed")
        case ["overloaded"]:
            await run.finish(
                "error",
                {"error": "Model overloaded", "code": "CAPACITY_ERROR", "retry_after": 30},
            )
        case _:
            await run.emit("chunk", {"content": "waiting"})
            async for command in run.commands():
                await run.finish(f"{command.type}led", {"by": "a command"})
                return


if __name__ == "__main__":
    chosen = PublishingSettings(requests_key=sys.argv[2])
    asyncio.run(worker(sys.argv[1], answer, settings=chosen, concurrency=100))
