"""Runs the model: a fixed set of stories in CI, any number of new ones on request.

``RUNCAST_TEST_MODEL_EXAMPLES=2000 pytest tests/model`` looks for new stories, at random, and prints
how to replay what it finds. ``RUNCAST_TEST_MODEL_SHRINK=0`` leaves a story as it was found.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from broker.redis.tail import Strategy
from tests.model.machine import EngineMachine
from tests.support.servers import RedisProcess, binary_of

_ASKED_FOR = os.environ.get("RUNCAST_TEST_MODEL_EXAMPLES")
_EXAMPLES = int(_ASKED_FOR or 50)
_STEPS = 30
_PHASES = [
    Phase.generate,
    *([] if os.environ.get("RUNCAST_TEST_MODEL_SHRINK") == "0" else [Phase.shrink]),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    """One for all stories, since each has keys of its own."""
    server = RedisProcess(binary_of("valkey"), append_only=True)
    server.start()
    yield server
    server.close()


@pytest.mark.timeout(120 + 2 * _EXAMPLES)
@pytest.mark.parametrize("strategy", ["notify", "block"])
def test_every_viewer_is_told_the_list(server: RedisProcess, strategy: Strategy) -> None:
    class Machine(EngineMachine):
        def __init__(self) -> None:
            super().__init__(server, strategy)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=_EXAMPLES,
            stateful_step_count=_STEPS,
            derandomize=_ASKED_FOR is None,
            database=None,
            deadline=None,
            phases=_PHASES,
            print_blob=_ASKED_FOR is not None,
            suppress_health_check=list(HealthCheck),
        ),
    )
