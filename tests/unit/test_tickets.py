"""Tickets: what is signed is what is given back, and nothing else is good."""

import base64
import json
import math
import time
from typing import Any, Final

import jwt
import pytest

from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import NO_RIGHTS, Action, Verdict
from broker.edge.auth.tickets import MOST_SECONDS, Tickets
from broker.wire.ids import RunId
from broker.wire.problem import NotAuthenticated

SECRET: Final = b"the first secret, which signs; as long as other hashes than ours want it"
OTHER: Final = b"the second secret, which is good as well"
FOREIGN: Final = b"a secret that nobody here has, of 32 bytes"
RUN: Final = RunId("run-1")
ADA: Final = Identity("ada", NO_RIGHTS, issued_at=1000.5, marks=frozenset({"subject:ada", "key:k"}))
TICKETS: Final = Tickets([SECRET, OTHER], audience="here", longest_seconds=300)
HEADER: Final = {"typ": "runcast-ticket+jwt"}


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good ticket, some changed; `None` takes one out."""
    now = int(time.time())
    whole = {
        "iss": "runcast",
        "aud": "here",
        "sub": "ada",
        "run": RUN,
        "rights": ["watch"],
        "iat": now,
        "exp": now + 60,
        "jti": "j",
        "auth_time": now,
        "marks": [],
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def signed(given: object, secret: bytes = SECRET, algorithm: str = "HS256") -> str:
    """With a right signature, whatever is signed."""
    return jwt.PyJWS().encode(json.dumps(given).encode(), secret, algorithm, headers=HEADER)


async def verified(text: str, tickets: Tickets = TICKETS) -> Identity:
    return await tickets.verify(Presented(CredentialKind.TICKET, text), Action.WATCH, RUN)


async def refused(text: str) -> str:
    """The words of the refusal, which must not have the ticket in them."""
    with pytest.raises(NotAuthenticated) as caught:
        await verified(text)
    error = caught.value
    assert error.__suppress_context__ or error.__context__ is None
    if len(text) > 3:
        assert text not in repr(error) + error.detail + error.body().decode()
    return error.detail


async def test_what_is_made_is_good() -> None:
    ticket = TICKETS.make(ADA, RUN, [Action.WATCH, Action.COMMAND], 60)
    identity = await verified(ticket.text)
    assert (identity.subject, identity.kind) == ("ada", CredentialKind.TICKET)
    assert identity.until == ticket.expires_at
    assert time.time() + 59 < ticket.expires_at <= math.ceil(time.time() + 60)
    assert str(identity.rights) == "watch:run-1 command:run-1"
    for action, verdict in ((Action.WATCH, Verdict.YES), (Action.PUBLISH, Verdict.NO)):
        assert identity.rights.of(action, RUN) is verdict
        assert identity.rights.of(action, RunId("run-2")) is Verdict.NO
        assert identity.rights.of(action, RunId("run-11")) is Verdict.NO


async def test_it_is_revoked_with_what_it_was_made_with() -> None:
    ticket = TICKETS.make(ADA, RUN, [Action.WATCH], None)
    identity = await verified(ticket.text)
    assert identity.marks == {"subject:ada", "key:k", f"token:{ticket.id}"}
    # When that was made counts, not when the ticket was.
    assert identity.issued_at == 1000
    undated = Identity(None, NO_RIGHTS, marks=frozenset({"key:k"}))
    identity = await verified(TICKETS.make(undated, RUN, [Action.WATCH], None).text)
    assert (identity.subject, identity.issued_at) == (None, None)


async def test_it_ends_with_the_right_that_it_was_made_of() -> None:
    until = time.time() + 7.9
    parent = Identity("ada", NO_RIGHTS, until=until)
    assert TICKETS.make(parent, RUN, [Action.WATCH], 60).expires_at == int(until)
    assert TICKETS.make(parent, RUN, [Action.WATCH], None).expires_at == int(until)
    for late in (time.time() - 1, time.time(), float(int(time.time()))):
        with pytest.raises(NotAuthenticated):
            TICKETS.make(Identity("ada", NO_RIGHTS, until=late), RUN, [Action.WATCH], 60)


async def test_it_lasts_no_longer_than_the_setting() -> None:
    for seconds in (None, 301, 1e300):
        made = TICKETS.make(ADA, RUN, [Action.WATCH], seconds)
        assert made.expires_at <= math.ceil(time.time() + 300)
    endless = Tickets([SECRET], audience="here", longest_seconds=1e9)
    ticket = endless.make(ADA, RUN, [Action.WATCH], None)
    assert ticket.expires_at <= math.ceil(time.time() + MOST_SECONDS)
    # Whoever made it longer than theirs, edges take it.
    await verified(ticket.text)


async def test_the_first_secret_signs_and_all_are_good() -> None:
    text = TICKETS.make(ADA, RUN, [Action.WATCH], None).text
    await verified(text, Tickets([SECRET], audience="here", longest_seconds=1))
    await verified(text, Tickets([FOREIGN, SECRET], audience="here", longest_seconds=1))
    with pytest.raises(NotAuthenticated):
        await verified(text, Tickets([OTHER], audience="here", longest_seconds=1))
    await verified(signed(claims(), OTHER))
    await refused(signed(claims(), FOREIGN))


async def test_the_baseline_of_what_follows_is_good() -> None:
    await verified(signed(claims()))
    await verified(signed(claims(sub=None, marks=None, auth_time=None)))
    await verified(signed(claims(iat=int(time.time()) + 4)))


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iss", "aud", "run", "rights", "iat", "exp", "jti")),
        {"iss": "somebody"},
        {"iss": 1},
        {"aud": "there"},
        {"aud": ["here"]},
        {"sub": ""},
        {"sub": 1},
        {"run": "*"},
        {"run": "run-*"},
        {"run": "@own"},
        {"run": ["run-1"]},
        {"run": ""},
        {"rights": []},
        {"rights": ["admin"]},
        {"rights": ["metrics"]},
        {"rights": ["watch", "watch:*"]},
        {"rights": "watch"},
        {"rights": 1},
        {"rights": [["watch"]]},
        {"rights": [1]},
        {"jti": 1},
        {"jti": ""},
        {"marks": [1]},
        {"marks": 1},
        {"auth_time": "yesterday"},
        {"auth_time": True},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e400},
        {"exp": 10**300},
        {"exp": 4e9},
        {"exp": 10**11},
        {"iat": -1},
        {"iat": "now"},
        {"iat": 10**11},
        {"nbf": 10**11},
    ],
    ids=str,
)
async def test_a_claim_that_is_not_what_it_must_be(changes: dict[str, Any]) -> None:
    await refused(signed(claims(**changes)))


async def test_it_is_neither_from_the_future_nor_for_years() -> None:
    now = int(time.time())
    await refused(signed(claims(iat=now + 10)))
    await refused(signed(claims(exp=now + MOST_SECONDS + 10)))
    await verified(signed(claims(exp=now + MOST_SECONDS)))


async def test_it_ends_exactly() -> None:
    now = time.time()
    for exp in (int(now), int(now) - 1):
        assert "expired" in await refused(signed(claims(iat=int(now) - 60, exp=exp)))
    assert "expired" not in await refused(signed(claims(exp=int(now) - 1), FOREIGN))


def encoded(part: object) -> str:
    text = part if isinstance(part, str) else json.dumps(part)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


async def test_other_kinds_of_tokens() -> None:
    for algorithm in ("HS384", "HS512"):
        await refused(signed(claims(), SECRET, algorithm))
    for typ in ("JWT", "at+jwt", "application/runcast-ticket+jwt", "", None):
        await refused(jwt.encode(claims(), SECRET, "HS256", headers={"typ": typ}))
    await refused(jwt.encode(claims(), "", "none", headers=HEADER))
    _, body, signature = signed(claims()).split(".")
    none = encoded({**HEADER, "alg": "none"})
    for header in (
        none,
        encoded({**HEADER, "alg": "None"}),
        encoded({**HEADER, "alg": ["HS256"]}),
        encoded({**HEADER, "alg": "HS256", "crit": ["x"], "x": 1}),
        encoded({**HEADER, "alg": "HS256", "kid": 1}),
        encoded({**HEADER, "alg": "HS256", "b64": False, "crit": ["b64"]}),
        encoded("[" * 5000),
        encoded("1" * 5000),
        encoded([]),
    ):
        for end in (signature, ""):
            await refused(f"{header}.{body}.{end}")


async def test_what_was_changed_or_is_none() -> None:
    head, body, signature = signed(claims()).split(".")
    more = encoded(claims(run="run-2"))
    for text in (
        "",
        ".",
        "..",
        "...",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{head}.{more}.{signature}",
        f"{head}.{body}.{signature}.x",
        f"{head}.{body}.{signature[:-2]}",
        f" {head}.{body}.{signature}",
        f"{head}.{encoded('[' * 5000)}.{signature}",
        "\u00e4.\ud800.x",
        "x" * 8000,
    ):
        await refused(text)


async def test_what_is_signed_and_no_document() -> None:
    for body in (b"[]", b"1", b"[" * 5000, b"\xff", b'{"exp":1e999999}'):
        await refused(jwt.PyJWS().encode(body, SECRET, "HS256", headers=HEADER))


async def test_no_secret_is_shown() -> None:
    ticket = TICKETS.make(ADA, RUN, [Action.WATCH], None)
    shown = f"{ticket!r} {ticket} {TICKETS!r} {await verified(ticket.text)!r}"
    assert ticket.text not in shown
    assert "secret" not in shown
