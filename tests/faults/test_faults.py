"""Each fault once, in short form. `python -m tests.faults` plays them at length."""

import pytest

from tests.faults.kinds import FAULTS, Fault
from tests.faults.round import QUICK, play

SEED = 20_261_121


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
async def test_nothing_is_lost_in_silence(fault: Fault) -> None:
    if fault.missing is not None:
        pytest.skip(fault.missing)
    played = await play(fault, SEED, QUICK)
    found = "\n".join([*played.counterexamples, *played.traces])
    assert played.clean, f"seed {SEED}: {played.flaws}\n{found}"
    assert played.shown != 0, f"seed {SEED}: the fault came to nothing: {fault.shows} did not move"
    assert played.frames >= played.viewers, "the viewers saw nothing, so nothing was proven"
