"""A story as the events of one run, with the time before each. Pure: no clock, no Redis."""

import re
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from broker.demo.stories import Ask, Call, Say, Scene, Story

__all__ = ["LONGEST_DELAY_SECONDS", "Step", "play"]

_TOKEN: Final = re.compile(r"\s*\S{1,7}")
_WORKERS: Final = 8

_QUEUE_SECONDS: Final = (0.8, 1.6)
_PAUSE_SECONDS: Final = (0.25, 0.6)
_TOKEN_SECONDS: Final = (0.02, 0.07)
_TOOL_SECONDS: Final = (0.7, 1.8)
_HUMAN_SECONDS: Final = (2.5, 5.5)

LONGEST_DELAY_SECONDS: Final = _HUMAN_SECONDS[1]
"""No step waits longer than this."""


class Step(NamedTuple):
    """One event to come."""

    delay_seconds: float
    """How long after the event before it."""
    type: str
    data: dict[str, Any]
    """Always has `n`: 1 for the run's first event, and one more for each that follows."""


def play(story: Story, random_source: Random) -> Iterator[Step]:
    """The run's events; the last one, and no other, is terminal."""
    for n, step in enumerate(_steps(story, random_source), start=1):
        yield step._replace(data={"n": n, **step.data})


def _steps(story: Story, random_source: Random) -> Iterator[Step]:
    worker = f"worker-{random_source.randint(1, _WORKERS)}"
    yield Step(0, "queued", {"title": story.title})
    yield Step(random_source.uniform(*_QUEUE_SECONDS), "running", {"worker": worker})
    for number, scene in enumerate(story.scenes, start=1):
        yield from _scene(scene, f"call-{number}", worker, random_source)
    yield Step(random_source.uniform(*_PAUSE_SECONDS), story.outcome, {"text": story.summary})


def _scene(scene: Scene, call: str, worker: str, random_source: Random) -> Iterator[Step]:
    pause = random_source.uniform(*_PAUSE_SECONDS)
    match scene:
        case Say(text):
            for token in _TOKEN.findall(text):
                yield Step(pause, "token", {"text": token})
                pause = random_source.uniform(*_TOKEN_SECONDS)
        case Call(tool, arguments, result, ok):
            seconds = random_source.uniform(*_TOOL_SECONDS)
            yield Step(
                pause, "tool_call", {"call": call, "tool": tool, "arguments": dict(arguments)}
            )
            yield Step(
                seconds,
                "tool_result",
                {"call": call, "ok": ok, "text": result, "ms": round(seconds * 1000)},
            )
        case Ask(question, person, reply):
            yield Step(pause, "awaiting_human", {"question": question, "person": person})
            yield Step(
                random_source.uniform(*_HUMAN_SECONDS),
                "human_reply",
                {"person": person, "text": reply},
            )
            yield Step(random_source.uniform(*_PAUSE_SECONDS), "running", {"worker": worker})
