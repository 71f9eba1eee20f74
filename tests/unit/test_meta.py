"""Keys beside a run's: each in the run's own slot."""

import pytest

from broker.redis.commands import commands_key
from broker.redis.deployment import slot_of
from broker.redis.meta import beside, meta_key
from broker.redis.streams import KeyTemplate
from broker.wire.ids import RunId


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("run:42", "{run:42}:meta"),
        ("{runs}:42", "{runs}:42:meta"),
        ("a{b}c{d}:42", "a{b}c{d}:42:meta"),
        ("run{:42", "{run{:42}:meta"),
        ("run:42{", "{run:42{}:meta"),
    ],
)
def test_the_meta_key_has_the_slot_of_the_run(key: str, expected: str) -> None:
    assert meta_key(key) == expected
    assert slot_of(meta_key(key)) == slot_of(key)


@pytest.mark.parametrize("key", ["run}:42", "{}run:42", "run{}:42"])
def test_a_brace_that_is_no_hash_tag_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="brace"):
        meta_key(key)


def test_keys_of_one_run_do_not_meet() -> None:
    key = KeyTemplate("run:{run_id}").key(RunId("42"))
    names = {key, meta_key(key), commands_key(key), meta_key(commands_key(key)), beside(key, "x")}
    assert len(names) == 5
