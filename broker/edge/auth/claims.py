"""What a token's claims say: whether it is good here and now, whose it is, and what they may do.

Pure. Nothing here has seen a signature: call it with claims that have been proven.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import structlog

from broker.edge.auth.rights import Rights
from broker.wire.ids import is_run_id
from broker.wire.problem import NotAuthenticated

__all__ = [
    "ClaimedRights",
    "Lifetime",
    "claim_at",
    "claim_path",
    "lifetime",
    "require_parties",
    "subject_of",
    "token_id",
]

logger = structlog.get_logger("runcast.auth")

Claims = Mapping[str, Any]
ClaimPath = tuple[str, ...]

_LAST_TIME: Final = 253_402_300_800
"""The year 10000. What is later was written in milliseconds by mistake."""
_LONGEST: Final = 256
"""The most characters of what names somebody, or a token."""
_REMEMBERED: Final = 1024
"""Rights that need not be read anew: most tokens give the same as others."""
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,5}")


def claim_path(name: str) -> ClaimPath:
    """Where a claim is: a member of this name, or where a JSON pointer (RFC 6901) points.

    Raises:
        ValueError: it begins as a pointer, and is none.
    """
    if not name.startswith("/"):
        return (name,)
    if _BAD_ESCAPE.search(name):
        raise ValueError(f"{name!r} is not a JSON pointer: write ~0 for ~, and ~1 for /")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/"))


def claim_at(claims: Claims, path: ClaimPath) -> Any:
    """The claim there; `None` if there is none."""
    value: Any = claims
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and _INDEX.fullmatch(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


# ---- whether it is good here and now


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Of a token, in seconds since 1970."""

    until: float
    """When the right that it gives ends."""
    issued_at: float | None
    """When it was made, if it says so."""


def lifetime(claims: Claims, now: float, leeway_seconds: float) -> Lifetime:
    """The token's, which has begun and not ended.

    Args:
        claims: the token's.
        now: seconds since 1970.
        leeway_seconds: how far the clocks of who signed and of this machine may differ.

    Raises:
        NotAuthenticated: it does not say when it ends, has ended, or has not begun.
    """
    ends = _time(claims, "exp")
    if ends is None:
        raise NotAuthenticated("The token does not say when it expires (exp).")
    if ends + leeway_seconds <= now:
        raise NotAuthenticated("The token has expired (exp).")
    begins = _time(claims, "nbf")
    if begins is not None and begins > now + leeway_seconds:
        raise NotAuthenticated("The token is not valid yet (nbf).")
    issued_at = _time(claims, "iat")
    if issued_at is not None and issued_at > now + leeway_seconds:
        raise NotAuthenticated("The token was made in the future (iat).")
    return Lifetime(ends if ends > now else ends + leeway_seconds, issued_at)


def _time(claims: Claims, name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAuthenticated(f"The token's {name} is not a number of seconds.")
    # Written so that it fails for what is no number at all.
    if not 0 <= value < _LAST_TIME:
        raise NotAuthenticated(f"The token's {name} is not a time in seconds since 1970.")
    return float(value)


def require_parties(claims: Claims, issuer: str | None, audience: str) -> None:
    """Returns if the token is of this issuer and for this audience.

    Args:
        claims: the token's.
        issuer: `None` for whoever has the key.
        audience: must be the token's, or one of them.

    Raises:
        NotAuthenticated: it is another's, or for others.
    """
    if issuer is not None and claims.get("iss") != issuer:
        raise NotAuthenticated("The token is of another issuer (iss).")
    given = claims.get("aud")
    audiences = given if isinstance(given, list) else [given]
    if not all(isinstance(one, str) for one in audiences) or audience not in audiences:
        raise NotAuthenticated("The token is for another audience (aud).")


def subject_of(claims: Claims, path: ClaimPath) -> str:
    """Whose token it is.

    Raises:
        NotAuthenticated: it does not say.
    """
    if not isinstance(claims.get("sub", ""), str):
        raise NotAuthenticated("The token's sub is not a text.")
    value = claim_at(claims, path)
    # A database's number will do, where an operator has chosen a claim that has it.
    text = str(value) if _is_whole(value) else value
    if not _is_name(text):
        raise NotAuthenticated("The token does not say whose it is.")
    return str(text)


def token_id(claims: Claims) -> str | None:
    """The token's own name (`jti`); `None` if it has none.

    Raises:
        NotAuthenticated: it has one that is none.
    """
    if "jti" not in claims:
        return None
    value = claims["jti"]
    if not _is_name(value):
        raise NotAuthenticated("The token's jti is not a text.")
    return str(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# ---- what they may do


class ClaimedRights:
    """What tokens give: to everyone with one, by rights of their own, and by roles."""

    def __init__(
        self,
        templates: str,
        rights_claim: str | None,
        roles_claim: str | None,
        roles: Mapping[str, Rights],
    ) -> None:
        """
        Args:
            templates: rights of everyone, with `{claim}` in their runs; claims are named as in
                `claim_path`.
            rights_claim: the claim that has rights; `None` for none.
            roles_claim: the claim that has roles; the same.
            roles: what each role may.

        Raises:
            ValueError: one of these has not its form.
        """
        self._templates = [_Template.parse(text) for text in templates.replace(",", " ").split()]
        self._rights_path = None if rights_claim is None else claim_path(rights_claim)
        self._roles_path = None if roles_claim is None else claim_path(roles_claim)
        self._roles = {role: str(rights).split() for role, rights in roles.items()}
        self._others_noted = False

    def of(self, claims: Claims) -> Rights:
        """All that the token gives. What is no right is left out, and so is what would become
        another than was meant, because a claim is missing or has what no run id has."""
        texts = []
        for template in self._templates:
            right = template.right(claims)
            if right is not None:
                texts.append(right)
        if self._rights_path is not None:
            texts += self._own(_texts(claim_at(claims, self._rights_path)))
        if self._roles_path is not None:
            for role in _texts(claim_at(claims, self._roles_path)):
                texts += self._roles.get(role, ())
        return _rights(tuple(texts))

    def _own(self, given: Sequence[str]) -> list[str]:
        rights = [text for text in given if _is_right(text)]
        others = len(given) - len(rights)
        if others and not self._others_noted:
            # Scopes are others' as well, as a rule: worth one line, and not their content.
            self._others_noted = True
            logger.info("a token has texts that are no rights here; said once", texts=others)
        return rights


@dataclass(frozen=True, slots=True)
class _Template:
    """A right that claims complete."""

    text: str
    paths: Mapping[str, ClaimPath]
    """Where the claims are, by what stands between the braces."""

    @classmethod
    def parse(cls, text: str) -> "_Template":
        action, _, runs = text.partition(":")
        # An action from a claim would let whoever fills the claim choose it, admin among them.
        if "{" in action or not _is_right(_PLACEHOLDER.sub("x", text)):
            raise ValueError(
                f"{text!r} is not a right: write watch:*, publish:{{team}}-*, command:@own or "
                "the like"
            )
        return cls(text, {name: claim_path(name) for name in _PLACEHOLDER.findall(runs)})

    def right(self, claims: Claims) -> str | None:
        """The right; `None` where a claim is not one that may stand in it."""
        if not self.paths:
            return self.text
        values = {}
        for name, path in self.paths.items():
            value = claim_at(claims, path)
            text = str(value) if _is_whole(value) else value
            # So no claim becomes a pattern: neither * nor @own, nor nothing before a *.
            if not isinstance(text, str) or not is_run_id(text):
                return None
            values[name] = text
        right = _PLACEHOLDER.sub(lambda found: values[found[1]], self.text)
        return right if _is_right(right) else None


def _texts(value: object) -> list[str]:
    """Those of a list, or of one text with spaces between them; others are not looked at."""
    if isinstance(value, str):
        return value.split()
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


@lru_cache(_REMEMBERED)
def _rights(texts: tuple[str, ...]) -> Rights:
    """One object for all who have the same."""
    return Rights(texts)


def _is_right(text: str) -> bool:
    try:
        _rights((text,))
    except ValueError:
        return False
    return True
