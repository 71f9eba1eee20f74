"""Puts together who may do what, from the settings.

What needs cryptography or an HTTP client is imported where it is set up: most edges start without.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.edge.auth.api_keys import ApiKeys, ApiKeysUnusable
from broker.edge.auth.bearer import Bearer
from broker.edge.auth.guard import EVERYONE, CredentialGuard, Guard
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.origins import Origins
from broker.edge.auth.revoked import Revoked
from broker.edge.auth.standing import Source, Standing
from broker.edge.auth.tickets import Tickets
from broker.edge.auth.verifier import Verifier
from broker.edge_settings import names
from broker.redis.catalogue import Catalogue
from broker.redis.deployment import Deployment
from broker.redis.owners import RedisOwners
from broker.redis.revocations import RedisRevocations
from broker.settings import Settings, SettingsError

if TYPE_CHECKING:
    from broker.edge.auth.forward import ForwardAuth
    from broker.edge.auth.tokens import Tokens

__all__ = ["Access", "make_access"]

_SHORTEST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0
_LONGEST_SHARE_SECONDS = 1.0
"""How long one answer of forward auth serves all who ask for the same anew."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what with an edge."""

    guard: Guard
    origins: Origins
    standing: Standing | None = None
    """`None` where no authentication is set up: no right can end."""
    tickets: Tickets | None = None
    """`None` where none are made."""
    attendants: Sequence[AbstractAsyncContextManager[object]] = ()
    """What has to be entered before the first request, in this order."""


def make_access(settings: Settings, deployment: Deployment, catalogue: Catalogue) -> Access:
    """The parts. Nothing is opened before the attendants are entered, but files are read.

    Args:
        settings: what is set up.
        deployment: where owners and revocations are.
        catalogue: which keys runs have.

    Raises:
        SettingsError: a file that they name can't be used.
    """
    origins = Origins(names(settings.cors_origins), credentials=settings.cors_credentials)
    kinds = settings.credential_kinds
    if not kinds:
        return Access(EVERYONE, origins)
    attendants: list[AbstractAsyncContextManager[object]] = []
    sources: list[Source] = [
        Revoked(RedisRevocations(deployment, settings.revocations_key)),
    ]
    api_keys = None
    if settings.api_keys_file is not None:
        try:
            api_keys = ApiKeys(settings.api_keys_file)
        except ApiKeysUnusable as error:
            raise SettingsError(f"api_keys_file: {error}") from None
        sources.append(api_keys)
    tokens = _tokens(settings, attendants) if settings.checks_tokens else None
    heartbeat, answer = settings.heartbeat_seconds, settings.forward_auth_timeout_seconds
    recheck_seconds = max(heartbeat / 2, heartbeat - answer - _LONGEST_SHARE_SECONDS)
    forward = None
    if settings.forward_auth_url is not None:
        forward = _forward_auth(settings, settings.forward_auth_url, recheck_seconds)
        attendants.append(forward)
    tickets = None
    if settings.ticket_secrets:
        tickets = Tickets(
            settings.ticket_secrets,
            audience=settings.ticket_audience,
            longest_seconds=settings.ticket_seconds,
        )
    found: dict[CredentialKind, Verifier | None] = {
        CredentialKind.TICKET: tickets,
        CredentialKind.API_KEY: api_keys or forward,
        CredentialKind.BEARER: Bearer(tokens, api_keys, forward),
        CredentialKind.SESSION: tokens if settings.session_cookie and tokens else forward,
    }
    verifiers = {kind: one for kind, one in found.items() if kind in kinds and one is not None}
    # In time to close what is revoked within one heartbeat.
    look_seconds = min(
        max(settings.heartbeat_seconds / 4, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS
    )
    standing = Standing(
        sources,
        look_seconds=look_seconds,
        recheck_seconds=recheck_seconds,
    )
    guard = CredentialGuard(
        verifiers,
        RedisOwners(deployment, catalogue),
        standing.stands,
        origins.check,
        session_cookie=settings.session_cookie,
        hide_runs=settings.hide_runs,
    )
    return Access(guard, origins, standing, tickets, [*attendants, standing])


def _forward_auth(settings: Settings, url: str, recheck_seconds: float) -> "ForwardAuth":
    from broker.edge.auth.forward import ForwardAuth

    return ForwardAuth(
        url,
        timeout_seconds=settings.forward_auth_timeout_seconds,
        cache_seconds=settings.forward_auth_cache_seconds,
        share_seconds=min(_LONGEST_SHARE_SECONDS, recheck_seconds / 2),
        session_cookie=settings.session_cookie,
    )


def _tokens(settings: Settings, attendants: list[AbstractAsyncContextManager[object]]) -> "Tokens":
    from broker.edge.auth.token_keys import Jwks, KeyFile, KeyFileUnusable, TokenKeys
    from broker.edge.auth.tokens import TokenRules, Tokens

    algorithms = names(settings.jwt_algorithms)
    keys: TokenKeys
    if settings.jwt_key_file is not None:
        try:
            keys = KeyFile(settings.jwt_key_file, algorithms)
        except KeyFileUnusable as error:
            raise SettingsError(f"jwt_key_file: {error}") from None
    else:
        assert settings.jwt_jwks_url is not None
        keys = Jwks(settings.jwt_jwks_url, algorithms, keep_seconds=settings.jwt_jwks_seconds)
        attendants.append(keys)
    assert settings.jwt_audience is not None
    rules = TokenRules(
        algorithms=algorithms,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_seconds=settings.jwt_leeway_seconds,
        subject_claim=settings.jwt_subject_claim,
        rights=settings.jwt_rights,
        rights_claim=settings.jwt_rights_claim,
        roles_claim=settings.jwt_roles_claim,
        roles=settings.role_rights,
    )
    return Tokens(rules, keys)
