"""What the operator's own endpoint has answered. Pure.

The status says whether somebody may; the headers, who they are (`Runcast-Subject`), what else they
may (`Runcast-Rights`) and for how long (`Runcast-Expires-In`, in seconds).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from broker.edge.auth.rights import Action, Rights
from broker.wire.ids import RunId

__all__ = ["AnswerHeaders", "AnswerUnusable", "No", "Yes", "read_answer"]

_SUBJECT: Final = "runcast-subject"
_RIGHTS: Final = "runcast-rights"
_EXPIRES_IN: Final = "runcast-expires-in"
_LONGEST_SUBJECT: Final = 256
_LONGEST_RIGHTS: Final = 8192
_SECONDS: Final = re.compile("[0-9]{1,10}")


class AnswerUnusable(ValueError):
    """It says neither yes nor no. Its text says what is wrong, for the operator's log."""


@dataclass(frozen=True, slots=True)
class Yes:
    """They may."""

    subject: str | None
    rights: Rights
    expires_in: int | None
    """Seconds; `None` for no end that is known."""


@dataclass(frozen=True, slots=True)
class No:
    """They may not."""

    known: bool
    """Whether the credential was good, and only the right is missing."""


class AnswerHeaders(Protocol):
    """The answer's headers."""

    def get_list(self, key: str) -> Sequence[str]:
        """The values of all fields with that name."""


def read_answer(
    status: int, headers: AnswerHeaders, action: Action, run_id: RunId | None
) -> Yes | No:
    """What an answer says.

    Args:
        status: its status.
        headers: its headers.
        action: what was asked about.
        run_id: the same; `None` for no run.

    Raises:
        AnswerUnusable: nothing that can be relied on.
    """
    if 200 <= status < 300:
        return Yes(_subject(headers), _rights(headers, action, run_id), _expires_in(headers))
    if status == 401 or 300 <= status < 400:
        # A redirect leads to a page where one logs in.
        return No(known=False)
    if status in (403, 404):
        return No(known=True)
    raise AnswerUnusable(f"status {status}")


def _subject(headers: AnswerHeaders) -> str | None:
    given = headers.get_list(_SUBJECT)
    if not given:
        return None
    subject = given[0]
    if len(given) > 1 or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise AnswerUnusable(
            f"Runcast-Subject: give one, of 1 to {_LONGEST_SUBJECT} printable characters"
        )
    return subject


def _rights(headers: AnswerHeaders, action: Action, run_id: RunId | None) -> Rights:
    given = headers.get_list(_RIGHTS)
    if not given:
        return Rights((_asked(action, run_id),))
    text = ",".join(given)
    if len(text) > _LONGEST_RIGHTS:
        raise AnswerUnusable(f"Runcast-Rights: more than {_LONGEST_RIGHTS} characters")
    try:
        return Rights.parse(text)
    except ValueError:
        # Not with what it says: nobody knows what that is.
        raise AnswerUnusable(
            "Runcast-Rights: give rights such as watch:team-* command:@own metrics"
        ) from None


def _asked(action: Action, run_id: RunId | None) -> str:
    """The right that was asked about, and no other."""
    if action in (Action.ADMIN, Action.METRICS):
        return action
    return f"{action}:{'*' if run_id is None else run_id}"


def _expires_in(headers: AnswerHeaders) -> int | None:
    given = headers.get_list(_EXPIRES_IN)
    if not given:
        return None
    if len(given) > 1 or _SECONDS.fullmatch(given[0]) is None:
        raise AnswerUnusable("Runcast-Expires-In: give one whole number of seconds")
    return int(given[0])
