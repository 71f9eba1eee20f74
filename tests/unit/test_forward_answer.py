"""What the answers of the operator's own endpoint mean."""

import httpx
import pytest

from broker.edge.auth.forward_answer import AnswerUnusable, No, Yes, read_answer
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId

_RUN = RunId("run-1")


def read(
    status: int,
    *headers: tuple[str, str],
    action: Action = Action.WATCH,
    run_id: RunId | None = _RUN,
) -> Yes | No:
    given = httpx.Headers([(name.encode(), text.encode()) for name, text in headers])
    return read_answer(status, given, action, run_id)


def yes(*headers: tuple[str, str], action: Action = Action.WATCH, run: RunId | None = _RUN) -> Yes:
    answer = read(200, *headers, action=action, run_id=run)
    assert isinstance(answer, Yes)
    return answer


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_success_is_a_yes(status: int) -> None:
    assert isinstance(read(status), Yes)


@pytest.mark.parametrize(
    ("status", "known"), [(401, False), (302, False), (307, False), (304, False)]
)
def test_who_is_sent_to_log_in_is_not_known(status: int, known: bool) -> None:
    assert read(status) == No(known=known)


@pytest.mark.parametrize("status", [403, 404])
def test_who_is_known_may_lack_the_right(status: int) -> None:
    assert read(status) == No(known=True)


@pytest.mark.parametrize("status", [100, 199, 400, 402, 405, 429, 500, 502, 503, 599])
def test_anything_else_is_no_answer(status: int) -> None:
    with pytest.raises(AnswerUnusable, match=str(status)):
        read(status)


@pytest.mark.parametrize(
    ("action", "run_id", "right"),
    [
        (Action.WATCH, _RUN, "watch:run-1"),
        (Action.PUBLISH, _RUN, "publish:run-1"),
        (Action.COMMAND, None, "command:*"),
        (Action.ADMIN, None, "admin"),
        (Action.METRICS, None, "metrics"),
    ],
)
def test_without_rights_a_yes_is_to_what_was_asked_alone(
    action: Action, run_id: RunId | None, right: str
) -> None:
    answer = yes(action=action, run=run_id)
    assert str(answer.rights) == right
    assert (answer.subject, answer.expires_in) == (None, None)


def test_the_headers_say_more() -> None:
    answer = yes(
        ("Runcast-Subject", "zoë@example.com"),
        ("Runcast-Rights", "watch:team-* command:@own"),
        ("runcast-rights", "metrics"),
        ("RUNCAST-EXPIRES-IN", "90"),
    )
    assert answer.subject == "zoë@example.com"
    assert str(answer.rights) == "watch:team-* command:@own metrics"
    assert answer.expires_in == 90


def test_no_rights_are_no_rights() -> None:
    assert not yes(("Runcast-Rights", "")).rights


@pytest.mark.parametrize(
    "headers",
    [
        [("Runcast-Subject", "")],
        [("Runcast-Subject", "a\tb")],
        [("Runcast-Subject", "a" * 257)],
        [("Runcast-Subject", "ann"), ("Runcast-Subject", "bob")],
        [("Runcast-Rights", "everything")],
        [("Runcast-Rights", "watch:*"), ("Runcast-Rights", "watch:")],
        [("Runcast-Rights", "watch:a " * 2000)],
        [("Runcast-Expires-In", "")],
        [("Runcast-Expires-In", "-1")],
        [("Runcast-Expires-In", "1.5")],
        [("Runcast-Expires-In", "٣")],
        [("Runcast-Expires-In", "1e9")],
        [("Runcast-Expires-In", "9" * 11)],
        [("Runcast-Expires-In", "1"), ("Runcast-Expires-In", "2")],
    ],
)
def test_what_can_not_be_read_lets_nobody_in(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(AnswerUnusable):
        read(200, *headers)


def test_what_can_not_be_read_does_not_matter_in_a_no() -> None:
    assert read(403, ("Runcast-Rights", "everything")) == No(known=True)
