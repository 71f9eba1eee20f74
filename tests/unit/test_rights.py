"""Rights: texts in, verdicts out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.auth.rights import NO_RIGHTS, Action, Rights, Verdict
from broker.wire.ids import RunId

YES, NO, IF_OWN, IF_NAMED = Verdict.YES, Verdict.NO, Verdict.IF_OWN, Verdict.IF_NAMED
OF_RUNS = (Action.WATCH, Action.PUBLISH, Action.COMMAND)


@pytest.mark.parametrize(
    ("text", "action", "run_id", "verdict"),
    [
        ("watch:*", Action.WATCH, "42", YES),
        ("watch:*", Action.WATCH, None, YES),
        ("watch:*", Action.PUBLISH, "42", NO),
        ("watch:42", Action.WATCH, "42", YES),
        ("watch:42", Action.WATCH, "421", NO),
        ("watch:42", Action.WATCH, "4", NO),
        ("watch:42", Action.WATCH, None, IF_NAMED),
        ("publish:team-*", Action.PUBLISH, "team-1", YES),
        ("publish:team-*", Action.PUBLISH, "team-", YES),
        ("publish:team-*", Action.PUBLISH, "team", NO),
        ("publish:team-*", Action.PUBLISH, "other", NO),
        ("publish:team-*", Action.PUBLISH, None, IF_NAMED),
        ("publish:team-*", Action.COMMAND, None, NO),
        ("command:team-* command:@own", Action.COMMAND, None, IF_OWN),
        ("watch:@own", Action.WATCH, "42", IF_OWN),
        ("command:@own", Action.COMMAND, None, IF_OWN),
        ("watch:@own watch:42", Action.WATCH, "42", YES),
        ("watch:@own watch:42", Action.WATCH, "43", IF_OWN),
        ("watch:own", Action.WATCH, "own", YES),
        ("watch:own", Action.WATCH, "42", NO),
        ("admin", Action.ADMIN, None, YES),
        ("admin", Action.METRICS, None, YES),
        ("admin", Action.WATCH, "42", NO),
        ("metrics", Action.METRICS, None, YES),
        ("metrics", Action.ADMIN, None, NO),
        ("watch:* publish:* command:*", Action.ADMIN, None, NO),
    ],
)
def test_what_they_allow(text: str, action: Action, run_id: str | None, verdict: Verdict) -> None:
    run = None if run_id is None else RunId(run_id)
    assert Rights.parse(text).of(action, run) is verdict


@pytest.mark.parametrize(
    "text",
    [
        *("watch", "watch:", "watch:**", "watch:a*b", "watch:*a", "watch:@", "watch:@other"),
        *("Watch:*", "read:*", "admin:*", "metrics:*", "*", "watch:a b*", "watch:a/b", "watch: *"),
        *("watch:é", "watch:*\n", "watch:" + "a" * 129),
    ],
)
def test_what_is_no_right_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a right"):
        Rights([text])


@pytest.mark.parametrize("action", list(Action))
def test_none_allow_nothing(action: Action) -> None:
    assert NO_RIGHTS.of(action, RunId("42")) is NO
    assert NO_RIGHTS.of(action, None) is NO
    assert not NO_RIGHTS


def test_they_are_separated_by_spaces_or_commas_and_shown_as_written() -> None:
    assert str(Rights.parse(" watch:*,  admin ,watch:*")) == "watch:* admin"


@given(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True), st.sampled_from(OF_RUNS))
def test_one_run_is_one_run(run_id: str, action: Action) -> None:
    rights = Rights([f"{action}:{run_id}"])
    assert rights.of(action, RunId(run_id)) is YES
    assert rights.of(action, RunId(f"{run_id}x")) is NO
    others = [other for other in Action if other is not action]
    assert {rights.of(other, RunId(run_id)) for other in others} == {NO}
