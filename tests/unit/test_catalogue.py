"""Addresses: which stream a run has, and how its entries are read, in each profile."""

from broker.redis.catalogue import Catalogue, Reading
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat, TerminalRule
from broker.wire.ids import RunId

RUN = RunId("run-42_x")
USUAL = Reading(KeyTemplate("run:{run_id}"), EventFormat(terminal_types=frozenset({"done"})))
OTHER_END = Reading(USUAL.keys, EventFormat(terminal_types=frozenset({"complete"})))
OTHER_RULE = Reading(
    USUAL.keys, EventFormat(terminal_rule=TerminalRule("state", frozenset({"failed"})))
)
OTHER_KEYS = Reading(KeyTemplate("job:{run_id}"), USUAL.events)


def catalogue() -> Catalogue:
    """One with a profile of each kind."""
    readings = {"native": USUAL, "end": OTHER_END, "same-end": OTHER_END, "rule": OTHER_RULE}
    return Catalogue(USUAL, {**readings, "keys": OTHER_KEYS})


def test_a_run_that_is_read_as_usual_goes_by_its_id() -> None:
    runs = catalogue()
    for profile in ("native", "nobody"):
        assert runs.address(profile, RUN) == RUN
    assert runs.key(RUN) == "run:run-42_x"
    assert runs.events(RUN) is USUAL.events
    assert runs.run_of(RUN) == RUN


def test_another_reading_is_another_address_of_the_same_run() -> None:
    runs = catalogue()
    addresses = {name: runs.address(name, RUN) for name in ("native", "end", "rule", "keys")}
    assert len(set(addresses.values())) == len(addresses)
    assert {runs.run_of(address) for address in addresses.values()} == {RUN}
    assert runs.key(addresses["end"]) == runs.key(addresses["native"])
    assert runs.key(addresses["keys"]) == "job:run-42_x"
    assert runs.events(addresses["end"]).ends_run("complete", b"")
    assert not runs.events(addresses["native"]).ends_run("complete", b"")
    assert runs.events(addresses["rule"]).ends_run("", b'{"state": "failed"}')


def test_profiles_that_read_alike_share_their_runs() -> None:
    runs = catalogue()
    assert runs.address("same-end", RUN) == runs.address("end", RUN)
