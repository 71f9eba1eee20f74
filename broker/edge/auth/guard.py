"""The guard: finds out who asks, and decides whether they may."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, Protocol

from starlette.types import Scope

from broker.edge.auth.identity import ANYONE, CredentialKind, Identity
from broker.edge.auth.permit import Permit
from broker.edge.auth.presented import Presented, present
from broker.edge.auth.rights import Action, Verdict
from broker.edge.auth.verifier import Verifier
from broker.engine.log import LogUnavailable
from broker.wire.ids import RunId
from broker.wire.problem import (
    Forbidden,
    NotAuthenticated,
    Problem,
    RunNotFound,
    Unavailable,
)

__all__ = ["EVERYONE", "CredentialGuard", "Guard", "Owners"]

RETRY_SECONDS: Final = 2


class Owners(Protocol):
    """Whose runs are."""

    async def of(self, profile: str, run_id: RunId) -> str | None:
        """The subject that owns the profile's run; `None` if nobody does, or there is no run.

        Raises:
            LogUnavailable: it can't be found out now.
        """


class Guard(Protocol):
    """Decides."""

    async def permit(
        self,
        scope: Scope,
        action: Action,
        run_id: RunId | None,
        *,
        kinds: Collection[CredentialKind] = (),
        profile: str = "native",
        owner_only: bool = False,
    ) -> Permit:
        """The permit for what a request wants.

        Args:
            scope: the request's.
            action: what is wanted.
            run_id: with which run; `None` for none, or none yet.
            kinds: what may prove who asks; empty for any.
            profile: whose run it is.
            owner_only: whether nobody but the run's owner may, whatever rights others have.

        Raises:
            Problem: it is not allowed, or can't be found out.
        """


class CredentialGuard:
    """Lets in who can prove that they may."""

    def __init__(
        self,
        verifiers: Mapping[CredentialKind, Verifier],
        owners: Owners,
        stands: Callable[[Identity], bool],
        check_origin: Callable[[Scope], None],
        *,
        session_cookie: str | None,
        hide_runs: bool,
    ) -> None:
        """
        Args:
            verifiers: what checks each kind of credential; those that are missing are not taken.
            owners: whose runs are.
            stands: whether what an identity rests on still holds.
            check_origin: raises `Forbidden` for a request that the page of a stranger may have had
                a browser send; asked where the credential is one that browsers send by themselves.
            session_cookie: the name of the application's cookie; `None` for all of them.
            hide_runs: whether a run that is not theirs looks to them like one that is not there.
        """
        self._verifiers = verifiers
        self._owners = owners
        self._stands = stands
        self._check_origin = check_origin
        self._session_cookie = session_cookie
        self._hide_runs = hide_runs

    async def permit(
        self,
        scope: Scope,
        action: Action,
        run_id: RunId | None,
        *,
        kinds: Collection[CredentialKind] = (),
        profile: str = "native",
        owner_only: bool = False,
    ) -> Permit:
        """See `Guard.permit`."""
        taken = [kind for kind in self._verifiers if not kinds or kind in kinds]
        presented = present(scope, taken, self._session_cookie)
        if presented is None:
            raise NotAuthenticated(f"Say who asks, by {_choice(taken)}.")
        if presented.kind is CredentialKind.SESSION:
            self._check_origin(scope)
        return await self._decide(presented, profile, owner_only, action, run_id)

    async def _decide(
        self,
        presented: Presented,
        profile: str,
        owner_only: bool,
        action: Action,
        run_id: RunId | None,
    ) -> Permit:
        try:
            identity = await self._verifiers[presented.kind].verify(presented, action, run_id)
        except Forbidden:
            raise self._refusal(action, run_id) from None
        self._require(identity)
        verdict = identity.rights.of(action, run_id)
        if owner_only and verdict is Verdict.YES:
            verdict = Verdict.IF_OWN
        match verdict:
            case Verdict.YES:
                allowed = True
            case Verdict.IF_OWN:
                allowed = await self._is_own(identity, profile, action, run_id)
            case Verdict.IF_NAMED:
                # Which run is asked for is known later: see `RunCreator`.
                allowed = action is Action.COMMAND
            case Verdict.NO:
                allowed = False
        if not allowed:
            raise self._refusal(action, run_id)
        return Permit(
            identity,
            run_id,
            verdict is Verdict.IF_OWN,
            verdict is Verdict.IF_NAMED,
            partial(self._require, identity),
            partial(self._decide, presented, profile, owner_only),
        )

    def _refusal(self, action: Action, run_id: RunId | None) -> Problem:
        if self._hide_runs and (run_id is not None or action is Action.WATCH):
            return RunNotFound()
        return Forbidden(f"You lack the right: {action}.")

    def _require(self, identity: Identity) -> None:
        if not self._stands(identity):
            raise NotAuthenticated("The credential has expired, or was revoked.")

    async def _is_own(
        self, identity: Identity, profile: str, action: Action, run_id: RunId | None
    ) -> bool:
        if identity.subject is None:
            return False
        if run_id is None:
            # A run that is asked for is going to be theirs.
            return action is Action.COMMAND
        try:
            return await self._owners.of(profile, run_id) == identity.subject
        except LogUnavailable:
            raise Unavailable("Redis can't be reached.", RETRY_SECONDS) from None


class _Everyone:
    """Lets everyone do everything: whoever reaches the edge may."""

    async def permit(
        self,
        scope: Scope,
        action: Action,
        run_id: RunId | None,
        *,
        kinds: Collection[CredentialKind] = (),
        profile: str = "native",
        owner_only: bool = False,
    ) -> Permit:
        """See `Guard.permit`. Never refuses."""
        return await self._any(action, run_id)

    async def _any(self, action: Action, run_id: RunId | None) -> Permit:
        return Permit(ANYONE, run_id, False, False, _holds, self._any)


def _holds() -> None:
    """Nothing can be revoked where nothing need be proved."""


EVERYONE: Final[Guard] = _Everyone()

_SHOWN: Final = {
    CredentialKind.TICKET: "a ticket (?ticket=)",
    CredentialKind.API_KEY: "an API key (X-API-Key)",
    CredentialKind.BEARER: "a token (Authorization: Bearer)",
    CredentialKind.SESSION: "the session's cookie",
}


def _choice(kinds: Collection[CredentialKind]) -> str:
    return " or ".join(_SHOWN[kind] for kind in CredentialKind if kind in kinds)
