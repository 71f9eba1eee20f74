"""The OpenAPI document: valid, complete, and of one mind with the code that reads requests."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.app import make_edge
from broker.console.page import CONSOLE
from broker.edge.auth.identity import CredentialKind
from broker.edge.openapi import make_document
from broker.edge.publishing.limits import PublishingLimits
from broker.settings import load_settings
from broker.wire import problem
from broker.wire.problem import HttpProblem, Problem
from broker.wire.request import EventsRequest, RequestLimits
from tests.fuzz.effort import effort
from tests.support.edges import Edge

_LIMITS: Final = RequestLimits(page_events=730, wait_seconds=12)
_PUBLISHING: Final = PublishingLimits(body_events=77)
_DOCUMENT: Final = make_document(_LIMITS, _PUBLISHING, admin=True)
_GUARDED: Final = make_document(_LIMITS, _PUBLISHING, list(CredentialKind), admin=True)
_OF_PROFILES: Final = {"SessionUnknown"}
"""Problems of routes that the document does not have: profiles' own."""
_EVENTS: Final = _DOCUMENT["paths"]["/v1/runs/{run_id}/events"]["get"]


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(_DOCUMENT).validate()
    OpenAPIV31SpecValidator(_GUARDED).validate()


@pytest.mark.parametrize("publish", [False, True])
def test_every_route_is_in_the_document_and_nothing_else(*, publish: bool) -> None:
    edge = make_edge(load_settings({"publish": publish}), "redis://localhost")
    document = make_document(_LIMITS, _PUBLISHING if publish else None, admin=True)
    served = {}
    for route in edge.routes:
        if route.path == CONSOLE:
            # A page for people.
            continue
        assert route.methods is not None
        # Whatever takes GET takes HEAD.
        served[route.path] = {method.lower() for method in route.methods} - {"head"}
    assert served == {path: item.keys() for path, item in document["paths"].items()}


def test_every_problem_is_in_the_document() -> None:
    for name in problem.__all__:
        kind = getattr(problem, name)
        abstract = not isinstance(kind, type) or kind in (Problem, HttpProblem)
        if not abstract and name not in _OF_PROFILES:
            assert f"urn:runcast:problem:{kind.slug}" in _slugs(kind.status)


def _slugs(status: int) -> set[str]:
    """The problems that any operation answers with this status."""
    return {
        slug
        for path in _GUARDED["paths"].values()
        for operation in path.values()
        for media in operation["responses"].get(str(status), {}).get("content", {}).values()
        for slug in media["schema"].get("properties", {}).get("type", {}).get("enum", ())
    }


def test_an_edge_serves_its_own(edge: Edge) -> None:
    answer = httpx.get(f"{edge.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(make_document(RequestLimits(), None, admin=True)))


async def test_it_goes_by_the_settings() -> None:
    settings = load_settings(
        {
            "max_limit": _LIMITS.page_events,
            "max_wait_seconds": _LIMITS.wait_seconds,
            "publish": True,
            "publish_body_events": _PUBLISHING.body_events,
        }
    )
    app = make_edge(settings, "redis://localhost").app
    # In-process, without a server or a Redis: nothing of them is asked.
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        answer = await http.get("/openapi.json")
    assert answer.json() == json.loads(json.dumps(_DOCUMENT))


# ---- each parameter: what the document allows is what the code takes


def _accepts(name: str, text: str) -> bool:
    header, query = ([text], {}) if name == "Last-Event-ID" else ([], {name: text})
    try:
        EventsRequest.parse(last_event_id=header, accept="", query=query, limits=_LIMITS)
    except Problem:
        return False
    return True


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rpartition("/")[2]
    found: dict[str, Any] = _DOCUMENT["components"]["schemas"][name]
    return found


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for each in schema.get("anyOf", [schema]):
        if "const" in each:
            yield f"^{re.escape(each['const'])}$"
        elif "enum" in each:
            yield f"^({'|'.join(each['enum'])})$"
        elif each.get("format") != "date-time":
            yield each["pattern"]


_TEXTS: Final = {
    parameter["name"]: list(_patterns(_resolved(parameter["schema"])))
    for parameter in _EVENTS["parameters"]
    if parameter["name"] not in ("run_id", "limit", "wait")
}


# Made once: that takes longer than a test.
_ALLOWED: Final = {
    name: st.one_of(*(st.from_regex(pattern, fullmatch=True) for pattern in patterns))
    for name, patterns in _TEXTS.items()
}
_NEAR: Final = st.one_of(
    st.text(),
    st.from_regex(r"^-?[0-9]{1,21}-[0-9]{1,21}$"),
    st.from_regex(r"^[ab,]{0,9}$"),
    st.sampled_from(("", "0", "1", "event", "comment", "18446744073709551616-0")),
)


@pytest.mark.parametrize("name", _TEXTS)
@given(data=st.data())
@effort(30)
def test_what_the_document_allows_is_taken(name: str, data: st.DataObject) -> None:
    assert _accepts(name, data.draw(_ALLOWED[name]))


@pytest.mark.parametrize("name", [name for name in _TEXTS if name != "from"])
@given(data=st.data())
@effort(50)
def test_what_the_document_does_not_allow_is_refused(name: str, data: st.DataObject) -> None:
    """Not of `from`: more ways to write a time are understood than are promised."""
    patterns = [re.compile(pattern) for pattern in _TEXTS[name]]
    text = data.draw(_NEAR)
    allowed = any(pattern.fullmatch(text) for pattern in patterns)
    assert _accepts(name, text) == allowed


@given(
    st.datetimes(datetime(1971, 1, 1)),
    st.integers(0, 6),
    st.sampled_from(("Z", "+00:00", "-23:59", "+14:00")),
)
@effort(50)
def test_times_that_the_document_allows_are_taken(moment: datetime, digits: int, zone: str) -> None:
    [schema] = [each["schema"] for each in _EVENTS["parameters"] if each["name"] == "from"]
    [pattern] = [each["pattern"] for each in schema["anyOf"] if "format" in each]
    text = moment.isoformat(timespec="microseconds")[: 19 + digits + bool(digits)] + zone
    assert re.fullmatch(pattern, text)
    assert _accepts("from", text)


@given(st.integers(-10, 10_000))
@effort(50)
def test_limits_are_those_of_the_document(number: int) -> None:
    [schema] = [each["schema"] for each in _EVENTS["parameters"] if each["name"] == "limit"]
    assert _accepts("limit", str(number)) == (schema["minimum"] <= number <= schema["maximum"])
    assert (
        EventsRequest.parse(last_event_id=[], accept="", query={}, limits=_LIMITS).limit
        == schema["default"]
    )


@given(st.one_of(st.floats(-1, 100), st.sampled_from((0.0, 1e-9, 12.0, 12.000001, 1e300))))
@effort(50)
def test_waits_are_those_of_the_document(seconds: float) -> None:
    [schema] = [each["schema"] for each in _EVENTS["parameters"] if each["name"] == "wait"]
    text = str(seconds)
    allowed = schema["minimum"] <= seconds <= schema["maximum"] and not text.startswith("-")
    assert _accepts("wait", text) == allowed
