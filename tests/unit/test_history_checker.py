"""The checker catches what it is there to catch: a checker that can't fail proves nothing."""

import pytest

from tests.support.history import Connection, check

APPENDED = [f"{number}-0" for number in range(1, 9)]


def ids(*numbers: int) -> list[str | tuple[str, str | None]]:
    return [f"{number}-0" for number in numbers]


def kinds(*connections: Connection, trimmed: tuple[int, ...] = ()) -> list[str]:
    flaws = check(APPENDED, connections, [f"{number}-0" for number in trimmed])
    return [flaw.kind for flaw in flaws]


def test_a_whole_history() -> None:
    assert kinds(Connection(None, ids(1, 2, 3)), Connection("3-0", ids(4, 5, 6, 7, 8))) == []


def test_a_gap_with_a_cause() -> None:
    resumed = Connection("2-0", [("2-0", "6-0"), *ids(6, 7, 8)])
    assert kinds(Connection(None, ids(1, 2)), resumed, trimmed=(1, 2, 3, 4, 5)) == []


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (Connection("3-0", ids(5, 6, 7, 8)), "lost"),
        (Connection("3-0", ids(3, 4, 5, 6, 7, 8)), "doubled"),
        (Connection("3-0", ids(4, 6, 5, 7, 8)), "lost"),
        (Connection("3-0", ["9-9", *ids(4, 5, 6, 7, 8)]), "foreign"),
        (Connection("3-0", ids(4, 5, 6)), "never caught up"),
        (Connection("3-0", [("3-0", "5-0"), *ids(5, 6, 7, 8)]), "gap without cause"),
        (Connection("3-0", [("2-0", "4-0"), *ids(4, 5, 6, 7, 8)]), "gap from elsewhere"),
        (Connection("3-0", [("3-0", None), *ids(4, 5, 6, 7, 8)]), "gap without end"),
    ],
)
def test_what_is_caught(second: Connection, kind: str) -> None:
    assert kind in kinds(Connection(None, ids(1, 2, 3)), second)


def test_a_gap_over_events_that_were_never_trimmed() -> None:
    second = Connection("3-0", [("3-0", "6-0"), *ids(6, 7, 8)])
    assert "gap over what is there" in kinds(
        Connection(None, ids(1, 2, 3)), second, trimmed=(1, 2, 3, 4)
    )
