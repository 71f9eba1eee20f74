"""The demo's stories as events: dense, bounded in time, and with an end."""

from random import Random
from typing import Final

import orjson
import pytest

from broker.demo.script import LONGEST_DELAY_SECONDS, Step, play
from broker.demo.stories import STORIES, Say, Story
from broker.settings import load_settings
from broker.wire.event import is_event_type
from broker.wire.ids import is_run_id

TERMINAL_TYPES: Final = load_settings({}).events.terminal_types

every_story = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.slug)
some_seeds = pytest.mark.parametrize("seed", range(5))


def steps_of(story: Story, seed: int = 0) -> list[Step]:
    return list(play(story, Random(seed)))


@every_story
def test_only_the_last_event_is_terminal(story: Story) -> None:
    *before, last = steps_of(story)
    assert last.type == story.outcome
    assert last.type in TERMINAL_TYPES
    assert TERMINAL_TYPES.isdisjoint(step.type for step in before)


@every_story
def test_the_counter_has_no_hole_and_no_double(story: Story) -> None:
    steps = steps_of(story)
    assert [step.data["n"] for step in steps] == list(range(1, len(steps) + 1))


@every_story
@some_seeds
def test_delays_are_bounded_and_a_run_is_neither_short_nor_long(story: Story, seed: int) -> None:
    delays = [step.delay_seconds for step in steps_of(story, seed)]
    assert all(0 <= delay <= LONGEST_DELAY_SECONDS for delay in delays)
    assert 12 <= sum(delays) <= 35


@every_story
def test_the_tokens_are_what_the_agent_says(story: Story) -> None:
    told = "".join(step.data["text"] for step in steps_of(story) if step.type == "token")
    assert told == "".join(scene.text for scene in story.scenes if isinstance(scene, Say))


@every_story
def test_every_call_has_its_result(story: Story) -> None:
    steps = steps_of(story)
    calls = [step.data["call"] for step in steps if step.type == "tool_call"]
    assert calls
    assert calls == [step.data["call"] for step in steps if step.type == "tool_result"]
    assert len(set(calls)) == len(calls)


@every_story
def test_a_person_is_waited_for(story: Story) -> None:
    types = [step.type for step in steps_of(story)]
    asked = types.index("awaiting_human")
    assert types[asked + 1 : asked + 3] == ["human_reply", "running"]


@every_story
def test_it_can_be_published(story: Story) -> None:
    assert is_run_id(f"{story.slug}-01234567")
    for step in steps_of(story):
        assert is_event_type(step.type)
        assert orjson.loads(orjson.dumps(step.data)) == step.data


def test_both_outcomes_occur() -> None:
    assert {story.outcome for story in STORIES} == {"succeeded", "failed"}


def test_the_pace_differs_and_the_same_seed_gives_the_same_run() -> None:
    assert steps_of(STORIES[0], 1) == steps_of(STORIES[0], 1)
    assert steps_of(STORIES[0], 1) != steps_of(STORIES[0], 2)
