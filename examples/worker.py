"""A worker: takes requests for runs, answers each word by word, and can be told to stop or to ask.

    python examples/worker.py redis://127.0.0.1:6379/0

Then, with an edge over the same Redis:

    curl -X POST http://127.0.0.1:8080/v1/runs -H 'Content-Type: application/json' \
        -d '{"input": {"query": "Why is the sky blue?"}}'
"""

import asyncio
import sys

from broker import worker
from broker.publishing import Request, Run


async def answer(request: Request, run: Run) -> None:
    """One run. Its end is appended when this returns or raises."""
    query = request.input["query"]
    work = asyncio.create_task(speak(f"You asked: {query}", run))
    stopping = asyncio.create_task(cancel_when_told(run, work))
    try:
        await work
    except asyncio.CancelledError:
        if not work.cancelled():
            # Not the work was cancelled, but this process is told to end.
            raise
        await run.finish("cancelled", {"by": "a command"})
    finally:
        work.cancel()
        stopping.cancel()
        await asyncio.wait((work, stopping))


async def speak(text: str, run: Run) -> None:
    """What takes its time."""
    await run.progress(phase="speaking")
    for word in text.split():
        await run.emit("chunk", {"text": f"{word} "})
        await asyncio.sleep(0.05)


async def cancel_when_told(run: Run, work: "asyncio.Task[None]") -> None:
    """Listens to the run's commands."""
    async for command in run.commands():
        if command.type == "cancel":
            work.cancel()


if __name__ == "__main__":
    asyncio.run(worker(sys.argv[1], answer, group="agents", concurrency=10))
