"""How runs stand, in one set of words whatever their workers say."""

import pytest

from broker.wire.status import is_outcome, outcome, outcome_said, status_word


@pytest.mark.parametrize(
    ("terminal_type", "said", "how"),
    [
        ("done", None, "completed"),
        ("succeeded", None, "completed"),
        ("RUN_FINISHED", None, "completed"),
        ("report", None, "completed"),
        ("", None, "completed"),
        ("failed", None, "failed"),
        ("RUN_ERROR", None, "failed"),
        ("worker_lost", "running", "failed"),
        ("no_worker", None, "failed"),
        ("canceled", None, "cancelled"),
        ("timed_out", None, "timed_out"),
        ("done", "failed", "failed"),
        ("done", "Cancelled", "cancelled"),
        ("run_finished", "success", "completed"),
        ("done", "whatever", "completed"),
        ("failed", "completed", "failed"),
    ],
)
def test_the_type_says_how_a_run_ended_and_else_its_data(
    terminal_type: str, said: str | None, how: str
) -> None:
    assert outcome(terminal_type, said) == how
    assert is_outcome(how)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"status": "failed", "state": "x"}', "failed"),
        (b'{"state": "failed"}', "failed"),
        (b'{"status": 3, "state": "failed"}', "failed"),
        (b'{"status": null}', None),
        (b"{}", None),
        (b'["status"]', None),
        (b'not "status" JSON', None),
    ],
)
def test_the_data_says_it_by_its_status_or_state(data: bytes, said: str | None) -> None:
    assert outcome_said(data) == said


def test_words_for_the_same_are_one_word_and_others_stay() -> None:
    assert [status_word(word) for word in ("succeeded", "complete", "Success")] == ["completed"] * 3
    assert status_word("thinking") == "thinking"
    assert not is_outcome("running")
    assert not is_outcome("queued")
