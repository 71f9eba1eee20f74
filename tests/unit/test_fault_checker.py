"""The checker of the fault rounds catches what it is there to catch, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.faults.checker import FlawKind, check
from tests.faults.counterexample import counterexample
from tests.faults.history import (
    FROM_LATEST,
    FROM_START,
    Append,
    CaughtUp,
    Connected,
    Deletion,
    Ended,
    Entry,
    Failover,
    Frame,
    GapSaid,
    History,
    Label,
    Outcome,
    Trim,
    ViewerLog,
    Wipe,
)

EVENTS = 6
"""Events 1 to 6, the last of which ends the run; event N is appended at second N, as N-0."""


def label(number: int, run: str = "r") -> Label:
    return Label(run, 0, number)


@dataclass
class Story:
    """A round, told step by step; one second passes with each thing that the viewer sees."""

    beginning: str = FROM_START
    types: frozenset[str] | None = None
    history: History = field(default_factory=History)
    kept: dict[Label, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    now: float = 100.0
    connection: int = 0
    cursor: str | None = None

    def append(
        self,
        number: int,
        *,
        id: str | None = None,
        at: float | None = None,
        outcome: Outcome = Outcome.OK,
        kept: bool = True,
        final: bool = False,
        type: str = "chunk",
    ) -> None:
        given = id or f"{number}-0"
        began = float(number) if at is None else at
        self.history.appends[label(number)] = Append(
            label(number),
            "done" if final else type,
            final,
            began,
            outcome,
            began + 0.1,
            given if outcome is Outcome.OK else None,
        )
        if kept:
            self.kept[label(number)] = given

    def connects(self, status: int = 200) -> "Story":
        self.connection += 1
        self._add(Connected(self._tick(), self.connection, "edge 0", self.cursor, status))
        return self

    def sees(self, *numbers: int) -> "Story":
        for number in numbers:
            append = self.history.appends[label(number)]
            self.frame(append.id or f"{number}-0", append.label)
        return self

    def frame(self, event_id: str, of: Label | None) -> "Story":
        self._add(Frame(self._tick(), self.connection, event_id, of))
        self.cursor = event_id
        return self

    def gap(self, requested: str, resumed_at: str | None, reason: str) -> "Story":
        self._add(GapSaid(self._tick(), self.connection, requested, resumed_at, reason))
        return self

    def caught_up(self, event_id: str) -> "Story":
        self._add(CaughtUp(self._tick(), self.connection, event_id))
        return self

    def cut(self) -> "Story":
        self._add(Ended(self._tick(), self.connection, "cut"))
        return self

    def trimmed(self, *numbers: int, at: float | None = None) -> "Story":
        ids = frozenset(f"{number}-0" for number in numbers)
        self.history.causes.append(Trim("r", self.now if at is None else at, ids))
        self._gone(numbers)
        return self

    def deleted(self, *numbers: int) -> "Story":
        ids = frozenset(f"{number}-0" for number in numbers)
        self.history.causes.append(Deletion("r", self.now, ids))
        self._gone(numbers)
        return self

    def failed_over(self, *lost: int) -> "Story":
        self.history.causes.append(Failover(self.now, self.now + 0.5))
        self._gone(lost)
        return self

    def told(self) -> History:
        self.history.viewers.append(
            ViewerLog("viewer", "r", self.beginning, self.types, self.entries)
        )
        self.history.kept["r"] = self.kept
        return self.history

    def kinds(self) -> list[FlawKind]:
        return [flaw.kind for flaw in check(self.told())]

    def _gone(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.kept.pop(label(number), None)

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def _tick(self) -> float:
        self.now += 1
        return self.now


def story(beginning: str = FROM_START, types: frozenset[str] | None = None) -> Story:
    made = Story(beginning, types)
    for number in range(1, EVENTS):
        made.append(number)
    made.append(EVENTS, final=True)
    return made


class TestWhatIsRight:
    def test_everything_over_two_connections(self) -> None:
        whole = story().connects().sees(1, 2, 3).caught_up("3-0").cut().connects().sees(4, 5, 6)
        assert whole.kinds() == []

    def test_a_gap_for_what_was_trimmed(self) -> None:
        seen = story().connects().sees(1, 2).cut().trimmed(1, 2, 3, 4).connects()
        assert seen.gap("2-0", "5-0", "trimmed").sees(5, 6).kinds() == []

    def test_a_gap_before_the_first_where_redis_cant_rule_it_out(self) -> None:
        seen = story("0-0").deleted(4).connects().gap("0-0", "1-0", "unknown")
        assert seen.sees(1, 2, 3, 5, 6).kinds() == []

    def test_a_gap_that_is_said_again_after_a_cut(self) -> None:
        seen = story().connects().sees(1, 2).cut().trimmed(1, 2, 3, 4).connects()
        seen.gap("2-0", "5-0", "trimmed").cut().connects()
        assert seen.gap("2-0", "5-0", "trimmed").sees(5, 6).kinds() == []

    def test_a_beginning_without_a_cursor_after_a_trim(self) -> None:
        assert story().trimmed(1, 2).connects().sees(3, 4, 5, 6).kinds() == []

    def test_an_event_that_was_taken_back_before_it_was_seen(self) -> None:
        assert story().connects().sees(1, 2).deleted(3).sees(4, 5, 6).kinds() == []

    def test_an_append_of_unknown_outcome_that_is_not_there(self) -> None:
        told = story()
        told.append(3, outcome=Outcome.UNKNOWN, kept=False)
        del told.kept[label(3)]
        assert told.connects().sees(1, 2, 4, 5, 6).kinds() == []

    def test_an_append_of_unknown_outcome_that_is_there(self) -> None:
        told = story()
        told.append(3, outcome=Outcome.UNKNOWN)
        assert told.connects().sees(1, 2, 3, 4, 5, 6).kinds() == []

    def test_only_what_is_new(self) -> None:
        seen = story(FROM_LATEST).connects().caught_up("3-0").cut().connects().sees(4, 5, 6)
        assert seen.kinds() == []

    def test_only_some_types(self) -> None:
        told = story(types=frozenset({"note"}))
        told.append(4, type="note")
        assert told.connects().sees(4).cut().connects(status=204).kinds() == []

    def test_a_run_that_begins_again(self) -> None:
        assert wiped(story()).gap("3-0", "4-0", "reset").sees(4, 5, 6).kinds() == []

    def test_a_run_that_went_before_anything_of_it_was_seen(self) -> None:
        told = story("0-0")
        told._gone((1, 2, 3))
        held = frozenset(label(number) for number in (1, 2, 3))
        told.history.causes.append(Wipe("r", 3.2, 3.3, "DEL", held))
        assert told.connects().sees(4, 5, 6).kinds() == []

    def test_a_run_that_is_gone_and_begins_again(self) -> None:
        assert wiped(story()).gap("3-0", None, "unknown").sees(4, 5, 6).kinds() == []

    def test_a_run_that_begins_again_with_lower_ids(self) -> None:
        told = Story()
        for number in (1, 2, 3):
            told.append(number, id=f"{number + 50}-0", kept=False)
        told.connects().sees(1, 2, 3)
        held = frozenset(label(number) for number in (1, 2, 3))
        told.history.causes.append(Wipe("r", told.now, told.now + 0.1, "DEL", held))
        told.append(4, at=told.now + 1)
        told.append(5, at=told.now + 2, final=True)
        told.gap("53-0", "4-0", "reset").sees(4, 5)
        assert told.kinds() == []

    def test_a_failover_that_loses_what_was_seen(self) -> None:
        seen = story().connects().sees(1, 2, 3).failed_over(3).gap("3-0", "1-0", "reset")
        assert seen.sees(1, 2, 4, 5, 6).kinds() == []

    def test_a_failover_that_loses_what_was_not_seen(self) -> None:
        seen = story().connects().sees(1, 2).failed_over(4).gap("2-0", None, "failover")
        assert seen.sees(3, 5, 6).kinds() == []

    def test_a_branch_that_a_failover_has_cut_off(self) -> None:
        """The old primary woke up and took event 4, while the new one had 3."""
        seen = story().connects().sees(1, 2).failed_over(4).sees(4).gap("4-0", "1-0", "reset")
        assert seen.sees(1, 2, 3, 5, 6).kinds() == []

    def test_an_append_whose_answer_came_after_the_run_had_gone(self) -> None:
        """It may have been in either stream: its absence says nothing."""
        told = story()
        told.append(3, at=3.0, kept=False)
        told.kept.pop(label(3))
        told.kept.pop(label(1))
        told.kept.pop(label(2))
        told.history.causes.append(Wipe("r", 3.05, 3.08, "DEL", frozenset({label(1), label(2)})))
        assert told.connects().sees(4, 5, 6).kinds() == []


def wiped(told: Story) -> Story:
    """Events 1 to 3 went with the stream, 4 to 6 are those of the new one; 1 to 3 were seen."""
    told.now = 3.2
    told.connects().sees(1, 2, 3)
    for number in (4, 5, 6):
        told.history.appends[label(number)].invoked_at += 100
        told.history.appends[label(number)].returned_at = None
    held = frozenset(label(number) for number in (1, 2, 3))
    told.history.causes.append(Wipe("r", 10.0, 10.1, "DEL", held))
    told._gone((1, 2, 3))
    told.now = 200.0
    return told


class TestWhatIsWrong:
    def test_lost(self) -> None:
        assert story().connects().sees(1, 2, 3, 5, 6).kinds() == [FlawKind.LOST]

    def test_lost_between_two_connections(self) -> None:
        seen = story().connects().sees(1, 2, 3).cut().connects().sees(5, 6)
        assert seen.kinds() == [FlawKind.LOST]

    def test_lost_although_it_was_never_answered(self) -> None:
        """It is in the stream: from then on it is an event like any other."""
        told = story()
        told.append(3, outcome=Outcome.UNKNOWN)
        assert told.connects().sees(1, 2, 4, 5, 6).kinds() == [FlawKind.LOST]

    def test_lost_before_the_first_event_that_a_viewer_saw(self) -> None:
        assert story().connects().sees(2, 3, 4, 5, 6).kinds() == [FlawKind.LOST]

    def test_lost_behind_a_word_that_all_is_replayed(self) -> None:
        seen = story().connects().sees(1, 2).caught_up("3-0").sees(4, 5, 6)
        assert seen.kinds() == [FlawKind.LOST]

    def test_lost_right_behind_the_newest_when_only_new_ones_were_wanted(self) -> None:
        seen = story(FROM_LATEST).connects().caught_up("3-0").sees(5, 6)
        assert seen.kinds() == [FlawKind.LOST]

    def test_lost_of_the_types_that_were_wanted(self) -> None:
        told = story(types=frozenset({"note"}))
        told.append(3, type="note")
        told.append(4, type="note")
        assert told.connects().sees(4).connects(status=204).kinds() == [FlawKind.LOST]

    def test_lost_at_the_end_of_the_types_that_were_wanted(self) -> None:
        told = story(types=frozenset({"note"}))
        told.append(3, type="note")
        told.append(4, type="note")
        assert told.connects().sees(3).connects(status=204).kinds() == [FlawKind.LOST]

    def test_trimmed_without_a_word(self) -> None:
        seen = story().connects().sees(1, 2).trimmed(1, 2, 3, 4).sees(5, 6)
        assert seen.kinds() == [FlawKind.LOST]

    def test_lost_before_it_was_trimmed(self) -> None:
        seen = story().connects().sees(1, 2).trimmed(1, 2, 3, at=1000.0)
        assert seen.sees(4, 5, 6).kinds() == [FlawKind.LOST]

    def test_more_than_the_gap_says(self) -> None:
        seen = story().connects().sees(1, 2).trimmed(1, 2, 3, 4)
        assert seen.gap("2-0", "4-0", "trimmed").sees(5, 6).kinds() == [FlawKind.LOST]

    def test_a_gap_over_what_is_there(self) -> None:
        seen = story().connects().sees(1, 2).trimmed(1, 2, 3)
        assert seen.gap("2-0", "5-0", "trimmed").sees(5, 6).kinds() == [FlawKind.LOST]

    def test_a_run_that_begins_again_without_a_word(self) -> None:
        told = wiped(story())
        told.append(7, at=4.0, kept=False)
        told.history.causes.clear()
        held = frozenset(label(number) for number in (1, 2, 3, 7))
        told.history.causes.append(Wipe("r", 10.0, 10.1, "DEL", held))
        assert told.sees(4, 5, 6).kinds() == [FlawKind.LOST]

    def test_lost_at_a_failover_without_a_word(self) -> None:
        seen = story().connects().sees(1, 2).failed_over(4)
        assert seen.sees(3, 5, 6).kinds() == [FlawKind.LOST]

    def test_not_called_back_from_what_a_failover_has_lost(self) -> None:
        seen = story().connects().sees(1, 2, 3).failed_over(3).sees(4, 5, 6)
        assert seen.kinds() == [FlawKind.NOT_CALLED_BACK]

    def test_not_called_back_and_missing_what_stayed(self) -> None:
        seen = story().connects().sees(1, 2).failed_over(4).sees(4, 5, 6)
        assert seen.kinds() == [FlawKind.NOT_CALLED_BACK, FlawKind.LOST]

    def test_doubled(self) -> None:
        seen = story().connects().sees(1, 2, 3).cut().connects().sees(3, 4, 5, 6)
        assert seen.kinds() == [FlawKind.DOUBLED]

    def test_doubled_after_a_gap_that_voids_nothing(self) -> None:
        seen = story().connects().sees(1, 2, 3).trimmed(1, 2).gap("3-0", "3-0", "trimmed")
        assert FlawKind.DOUBLED in seen.sees(3, 4, 5, 6).kinds()

    def test_out_of_order(self) -> None:
        seen = story().connects().sees(1, 2, 4, 3, 5, 6)
        assert seen.kinds() == [FlawKind.LOST, FlawKind.OUT_OF_ORDER]

    def test_an_event_of_the_stream_that_was_before(self) -> None:
        told = wiped(story())
        told.append(7, at=4.0, kept=False)
        told.history.causes.clear()
        held = frozenset(label(number) for number in (1, 2, 3, 7))
        told.history.causes.append(Wipe("r", 10.0, 10.1, "DEL", held))
        seen = told.gap("3-0", "4-0", "reset").sees(4, 5).frame("7-0", label(7)).sees(6)
        assert seen.kinds() == [FlawKind.OUT_OF_ORDER]

    def test_another_runs_event(self) -> None:
        seen = story().connects().sees(1, 2).frame("3-0", label(3, run="other")).sees(3, 4, 5, 6)
        assert seen.kinds() == [FlawKind.FOREIGN]

    def test_an_event_that_nobody_appended(self) -> None:
        seen = story().connects().sees(1, 2).frame("2-1", label(99)).sees(3, 4, 5, 6)
        assert seen.kinds() == [FlawKind.NEVER_APPENDED]

    def test_an_event_under_another_id(self) -> None:
        seen = story().connects().sees(1, 2).frame("2-1", label(3)).sees(3, 4, 5, 6)
        assert seen.kinds() == [FlawKind.NEVER_APPENDED]

    def test_data_that_nobody_wrote(self) -> None:
        seen = story().connects().sees(1, 2).frame("2-1", None).sees(3, 4, 5, 6)
        assert seen.kinds() == [FlawKind.NEVER_APPENDED]

    def test_an_event_that_was_refused(self) -> None:
        told = story()
        told.append(3, outcome=Outcome.FAILED, kept=False)
        told.kept.pop(label(3))
        seen = told.connects().sees(1, 2).frame("3-0", label(3)).sees(4, 5, 6)
        assert seen.kinds() == [FlawKind.NEVER_APPENDED]

    @pytest.mark.parametrize("reason", ["trimmed", "unknown", "reset", "failover"])
    def test_a_gap_without_cause(self, reason: str) -> None:
        seen = story().connects().sees(1, 2, 3).gap("3-0", "4-0", reason)
        # A reset voids what the viewer has, so that it would need it again.
        seen.sees(*((1, 2, 3) if reason == "reset" else ()), 4, 5, 6)
        assert seen.kinds() == [FlawKind.GAP_WITHOUT_CAUSE]

    @pytest.mark.parametrize("reason", ["reset", "failover"])
    def test_a_trim_is_no_cause(self, reason: str) -> None:
        seen = story().connects().sees(1, 2, 3).trimmed(1, 2, 3).gap("3-0", "4-0", reason)
        assert seen.sees(4, 5, 6).kinds() == [FlawKind.GAP_WITHOUT_CAUSE]

    def test_a_trim_of_what_was_long_seen_is_no_cause(self) -> None:
        seen = story().connects().sees(1, 2, 3).trimmed(1, 2).gap("3-0", "4-0", "trimmed")
        assert seen.sees(4, 5, 6).kinds() == [FlawKind.GAP_WITHOUT_CAUSE]

    def test_a_cause_that_comes_later_is_none(self) -> None:
        seen = story().connects().sees(1, 2, 3).gap("3-0", "4-0", "trimmed")
        seen.trimmed(1, 2, 3, at=seen.now + 0.5)
        assert seen.sees(4, 5, 6).kinds() == [FlawKind.GAP_WITHOUT_CAUSE]

    def test_a_reset_that_was_said_already(self) -> None:
        seen = wiped(story()).gap("3-0", "4-0", "reset").sees(4, 5).gap("5-0", "4-0", "reset")
        assert seen.sees(4, 5, 6).kinds() == [FlawKind.GAP_WITHOUT_CAUSE]

    def test_a_gap_from_elsewhere(self) -> None:
        seen = story().connects().sees(1, 2, 3).trimmed(1, 2, 3).gap("2-0", "4-0", "trimmed")
        assert seen.sees(4, 5, 6).kinds() == [FlawKind.GAP_FROM_ELSEWHERE]

    def test_never_caught_up(self) -> None:
        assert story().connects().sees(1, 2, 3).kinds() == [FlawKind.NEVER_CAUGHT_UP]

    def test_never_told_of_the_end(self) -> None:
        told = story(types=frozenset({"chunk"}))
        assert told.connects().sees(1, 2, 3, 4, 5).kinds() == [FlawKind.NEVER_CAUGHT_UP]

    def test_caught_up_twice(self) -> None:
        seen = story().connects().sees(1).caught_up("1-0").sees(2).caught_up("2-0")
        assert seen.sees(3, 4, 5, 6).kinds() == [FlawKind.CAUGHT_UP_TWICE]

    def test_what_redis_lost_by_itself(self) -> None:
        told = story()
        told._gone((3,))
        kinds = told.connects().sees(1, 2, 3, 4, 5, 6).kinds()
        assert kinds == [FlawKind.LOST_BY_REDIS]


def test_a_counterexample_has_what_matters_and_no_more() -> None:
    told = story()
    for number in range(7, 40):
        told.append(number)
    told.append(40, final=True)
    told.history.appends[label(6)].final = False
    told.connects().sees(*range(1, 30)).trimmed(1, at=told.now + 0.5)
    told.cut().connects().sees(*range(31, 41))
    history = told.told()
    (flaw,) = check(history)
    text = counterexample(flaw, history, "python -m tests.faults --seed 7 --fault calm")
    lines = text.splitlines()
    assert lines[0] == ("lost for viewer in run r: 1 event, 30-0 to 30-0, 1 of them still there")
    assert lines[-1] == "  again: python -m tests.faults --seed 7 --fault calm"
    assert [line.partition(" s  ")[2] for line in lines[1:-1]] == [
        "producer  appends r/0/30 (chunk): ok as 30-0 after 0.100 s",
        "viewer    #1 gets 26-0, r/0/26",
        "viewer    #1 gets 27-0, r/0/27",
        "viewer    #1 gets 28-0, r/0/28",
        "viewer    #1 gets 29-0, r/0/29",
        "cause     trims 1 events of r",
        "viewer    #1 is disconnected: cut",
        "viewer    #2 connects to edge 0 from 29-0: 200",
        "viewer  > #2 gets 31-0, r/0/31",
        "viewer    #2 gets 32-0, r/0/32",
        "viewer    #2 gets 33-0, r/0/33",
        "viewer    #2 gets 34-0, r/0/34",
    ]
