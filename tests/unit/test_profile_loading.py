"""Profiles: found by name or path, checked, and told from each other."""

import re
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from broker.profiles import document, loading
from broker.profiles.loading import ProfileError, built_in_names, load_profiles
from broker.profiles.profile import Profile
from broker.redis.catalogue import Reading
from broker.redis.streams import KeyTemplate
from broker.settings import SettingsError, load_settings
from broker.wire.event import EventFormat, TerminalRule
from broker.wire.folding import FoldRule
from broker.wire.ids import RunId
from broker.wire.request import EventsRequest, RequestLimits
from broker.wire.shaped import BLOCK_PLACES, EVENT_PLACES, Shaped

USUAL = Reading(
    KeyTemplate("run:{run_id}"),
    EventFormat(type_field="kind", terminal_types=frozenset({"done"})),
)
FOLD = FoldRule(frozenset({"chunk"}), "text")
LEAST = 'title = "Mine"\n[[routes]]\npath = "/mine/{run_id}"\n'


def load(*names: str | Path) -> list[Profile]:
    """These profiles."""
    return load_profiles([str(name) for name in names], USUAL, FOLD)


def write(directory: Path, text: str, name: str = "mine") -> Path:
    """A file of one's own."""
    path = directory / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def a_request(**query: str) -> EventsRequest:
    """A request with nothing special."""
    return EventsRequest.parse(last_event_id=[], accept="", query=query, limits=RequestLimits())


# ---- what there is


def test_all_of_ours_can_be_used() -> None:
    names = built_in_names()
    assert {"native", "coasty", "cortex", "travelmode"} <= set(names)
    for name in names:
        (profile,) = load(name)
        assert profile.name == name
        assert profile.title


def test_those_that_want_no_path_in_common_are_served_together() -> None:
    together = load("native", "cortex", "travelmode")
    assert [profile.name for profile in together] == ["native", "cortex", "travelmode"]
    assert [profile.name for profile in load("cortex", "cortex")] == ["cortex"]


def test_one_of_your_own_needs_a_title_and_a_route(tmp_path: Path) -> None:
    (profile,) = load(write(tmp_path, LEAST))
    assert (profile.name, profile.title) == ("mine", "Mine")
    assert profile.reading == USUAL
    dialect = profile.dialect(RunId("42"), a_request())
    assert dialect == Shaped(profile.words, "42")
    assert profile.dialect(RunId("42"), a_request(fold="text")) == dialect


def test_what_ends_a_run_may_be_another_thing(tmp_path: Path) -> None:
    stream = '[stream]\nkey_template = "job:{run_id}"\nterminal_rule = "state in failed, ok"\n'
    (profile,) = load(write(tmp_path, LEAST + stream))
    assert profile.reading.keys.key(RunId("42")) == "job:42"
    events = profile.reading.events
    assert events.type_field == "kind", "names of fields are the settings'"
    assert events.terminal_rule == TerminalRule("state", frozenset({"failed", "ok"}))
    assert events.terminal_types == frozenset(), "what ends runs elsewhere does not, here"


def test_a_profile_may_come_with_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("a_package_with_profiles")
    module.path = write(tmp_path, LEAST)  # type: ignore[attr-defined]
    module.text = LEAST.replace("/mine", "/other")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = EntryPoints(
        EntryPoint(name, f"{module.__name__}:{attribute}", loading.ENTRY_POINT_GROUP)
        for name, attribute in (("by-path", "path"), ("by-text", "text"), ("gone", "nothing"))
    )
    monkeypatch.setattr(loading, "entry_points", lambda **chosen: points.select(**chosen))
    assert [profile.name for profile in load("by-path", "by-text")] == ["by-path", "by-text"]
    with pytest.raises(ProfileError, match=r"profile gone: .*nothing"):
        load("gone")


def test_an_encoder_of_your_own_is_named_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(profile: Profile, run_id: RunId, request: EventsRequest) -> Any:
        return (profile.name, run_id)

    module = ModuleType("a_package_with_an_encoder")
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    encoder = f'encoder = "{module.__name__}:make"\n'
    (profile,) = load(write(tmp_path, encoder + LEAST))
    assert profile.dialect(RunId("42"), a_request()) == ("mine", "42")


# ---- what is refused, each in one line that says which profile and why

ROUTE = '[[routes]]\npath = "%s"\n'

REFUSED = {
    "no TOML": ("title", r"Expected '=' after a key"),
    "no title": (ROUTE % "/a/{run_id}", "title: "),
    "no route": ('title = "Mine"\nroutes = []', "routes: "),
    "unknown key": ("colour = 1\n" + LEAST, "colour: there is no such key"),
    "unknown key, deeper": (LEAST + "[events.a]\ndatum = 1", "events.a.datum: there is no such"),
    "neither a rule nor false": (LEAST + "[events]\na = true", "events.a: "),
    "no shape": (LEAST + "[events.a]\ndata = '{$x}'", "events.a.data: $x is not known here"),
    "no shape of the end": (LEAST + "[final]\ndata = '{'", "final.data: '{' is no JSON"),
    "no shape of a gap": (LEAST + "[gap]\ndata = '$data'", "gap.data: $data is not known here"),
    "no shape of a page": (LEAST + "[page]\nevent = '1'\nbody = '$x'", "page: body: $x"),
    "a break in a name": (LEAST + '[event]\nevent = "a\\nb"', "event.event: 'a\\nb' can't be"),
    "a break in our name": (LEAST + '[gap]\nevent = "runcast.a\\rb"', "gap.event: "),
    "a place in a name": (LEAST + '[event]\nevent = "$data"', "write $type, or the event's name"),
    "no type to name it": (LEAST + '[gap]\nevent = "$type"', "gap.event: there is no $type here"),
    "a page, but how": (
        'title = "Mine"\n[[routes]]\npath = "/a/{run_id}"\nserves = "page"',
        "describe it in [page]",
    ),
    "no key": (LEAST + '[stream]\nkey_template = "runs"', "stream.key_template: "),
    "no rule": (LEAST + '[stream]\nterminal_rule = "x"', "stream.terminal_rule: "),
    "ids of another kind": (LEAST + '[cursor]\nids = "uuid"', "cursor.ids: "),
    "a parameter in use": (LEAST + '[cursor]\nparameters = ["types"]', "types means something"),
    "no parameter": (LEAST + '[cursor]\nparameters = ["a b"]', "'a b' can't be the name"),
    "no encoder": ('encoder = "x"\n' + LEAST, "encoder 'x': there are"),
    "no such encoder": ('encoder = "os:x"\n' + LEAST, "encoder 'os:x': "),
    "no such module": ('encoder = "no_such_module:x"\n' + LEAST, "encoder 'no_such_module:x': "),
    "a path without a run": ('title = "Mine"\n' + ROUTE % "/a", "must have {run_id} once"),
    "a path with two": ('title = "Mine"\n' + ROUTE % "/a/{run_id}/{name}", "must have {run_id}"),
    "a path that is all places": ('title = "Mine"\n' + ROUTE % "/{run_id}", "a fixed part first"),
    "a path with an end": ('title = "Mine"\n' + ROUTE % "/a/{run_id}/", "no / at the end"),
    "a path of another kind": ('title = "Mine"\n' + ROUTE % "/a/{run_id:path}", "a fixed part"),
    "a path with a query": ('title = "Mine"\n' + ROUTE % "/a/{run_id}?b", "a fixed part first"),
    "the same path twice": (LEAST + ROUTE % "/mine/{run_id}", "has GET /mine/{run_id} twice"),
    "a pointer to nobody": (
        'title = "Mine"\n' + ROUTE % "/a/{name}" + 'pointer = "agent"',
        "must have {name} once",
    ),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be_used_is_said_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ProfileError) as refusal:
        load(path)
    line = str(refusal.value)
    assert line.startswith("profile ")
    assert why in line
    assert "mine" in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("corteks", "profile corteks: there is none; ours are "),
        ("/no/such/file.toml", "profile /no/such/file.toml: can't be read: "),
        ("", "there is none"),
    ],
)
def test_a_profile_that_is_not_there_is_named(name: str, why: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(why)):
        load(name)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="can't be read"):
        load(path)


@pytest.mark.parametrize("name", ["Mine", "a b", "1st", "mine:x", "m" * 40])
def test_a_profiles_name_fits_into_keys_and_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match="its name must match"):
        load(write(tmp_path, LEAST, name))


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    for directory, path in (("a", "/a/{run_id}"), ("b", "/b/{run_id}")):
        (tmp_path / directory).mkdir()
        write(tmp_path / directory, LEAST.replace("/mine/{run_id}", path))
    with pytest.raises(ProfileError, match="two profiles called mine"):
        load(tmp_path / "a" / "mine.toml", tmp_path / "b" / "mine.toml")
    # A changed copy of one of ours takes its name, and its place.
    assert load(write(tmp_path, LEAST, "cortex"))[0].title == "Mine"


@pytest.mark.parametrize(
    ("path", "serves", "overlaps"),
    [
        ("/v1/runs/{run_id}/events", "events", True),
        ("/v1/runs/latest/events/{run_id}", "events", False),
        ("/v1/{run_id}/mine/events", "events", True),
        ("/v1/runs/{run_id}", "events", False),
        ("/v1/runs/mine/events", "create", False),
    ],
)
def test_one_request_is_for_one_profile(
    tmp_path: Path, path: str, serves: str, overlaps: bool
) -> None:
    text = f'title = "Mine"\n[[routes]]\npath = "{path}"\nserves = "{serves}"\n'
    mine = write(tmp_path, text)
    if overlaps:
        with pytest.raises(ProfileError, match=r"profiles native and mine both have GET /v1/"):
            load("native", mine)
    else:
        assert len(load("native", mine)) == 2


# ---- what the guide says


def test_the_guide_has_every_key_and_every_place() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text(encoding="utf-8")
    sections: list[type[BaseModel]] = [
        *(document.BlockSection, document.StatusSection, document.StreamSection),
        *(document.CursorSection, document.FoldSection, document.PageSection),
        *(document.RouteSection, document.ProfileDocument),
    ]
    for section in sections:
        for key in section.__pydantic_fields__:
            assert re.search(rf"`\[*{key}[`.\]]", guide), f"{section.__name__}: {key}"
    for place in {*EVENT_PLACES, *document.PAGE_PLACES}.union(*BLOCK_PLACES.values()):
        assert f"`${place}`" in guide, place


# ---- how it is chosen


def test_profiles_are_chosen_by_flag_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def chosen(**flags: str) -> list[str]:
        return [profile.name for profile in load_settings(dict(flags)).profiles]

    assert chosen() == ["native"]
    Path("runcast.toml").write_text('profile = "cortex"')
    assert chosen() == ["cortex"]
    monkeypatch.setenv("RUNCAST_PROFILE", "travelmode, native")
    assert chosen() == ["travelmode", "native"]
    write(tmp_path, LEAST)
    assert chosen(profile="mine.toml,cortex") == ["mine", "cortex"]


@pytest.mark.parametrize("profile", [" , ", "nobody", "native,coasty"])
def test_a_wrong_choice_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as refusal:
        load_settings({"profile": profile})
    assert "profile" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
