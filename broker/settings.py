"""Every setting: its name, default, unit and reason. One typed model, read from three places.

`runcast.toml`, then `RUNCAST_…` in the environment, then flags; the later wins. What an edge
does is in `broker.edge_settings`; here is who may have it do so, and how much of it.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from broker.edge.auth.claims import ClaimedRights, claim_path
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.rights import Rights
from broker.edge.limits import ConnectionLimits, StreamLimits, connections_that_fit
from broker.edge_settings import CONFIG_FILE, PREFIX, Count, EdgeSettings, Seconds, names

__all__ = ["CONFIG_FILE", "Settings", "SettingsError", "load_settings"]

_NOT_SETTINGS: Final = ("RUNCAST_TEST_", "RUNCAST_TAIL_")
"""Prefixes of variables that belong to the project's tests, and to a command that has none."""
_SECRET_BYTES: Final = 32
"""Of a secret that signs: as many as its hash has (RFC 7518, 3.2)."""
_ALGORITHMS: Final = re.compile(r"(HS|RS|PS|ES)(256|384|512)|EdDSA")
_COOKIE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class SettingsError(ValueError):
    """A setting can't be used. Its text is one line that says which, and what to change."""


class Settings(EdgeSettings):
    """All settings of an edge."""

    api_keys_file: Path | None = Field(
        None,
        description="API keys, as hashes (see runcast key); read again when it changes.",
    )

    jwt_algorithms: str = Field(
        "",
        description="The algorithms that tokens are signed with, comma-separated: of HS256, RS256, "
        "PS256, ES256 and their like, EdDSA. Never HS with others.",
    )
    jwt_key_file: Path | None = Field(
        None,
        description="What tokens are checked with: a public key (PEM), or for HS the secret.",
    )
    jwt_jwks_url: str | None = Field(
        None, description="Where the identity provider has its public keys (JWKS)."
    )
    jwt_jwks_seconds: Seconds = Field(
        300, description="How long these are used before they are fetched again."
    )
    jwt_issuer: str | None = Field(None, description="What a token's iss must be.")
    jwt_audience: str | None = Field(None, description="What a token's aud must have.")
    jwt_leeway_seconds: float = Field(
        10, ge=0, le=600, description="How far the clocks of who signs and who checks may differ."
    )
    jwt_subject_claim: str = Field(
        "sub", min_length=1, description="The claim that says who it is."
    )
    jwt_rights: str = Field(
        "",
        description="Rights of everyone with a token, such as: watch:@own command:@own. {claim} "
        "is replaced by that claim.",
    )
    jwt_rights_claim: str | None = Field(
        None,
        description="The claim that has rights of the token's own: a name, or a JSON pointer such "
        "as /runcast/rights.",
    )
    jwt_roles_claim: str | None = Field(None, description="The claim that has roles; the same.")
    jwt_roles: str = Field(
        "",
        description="What roles may, such as: viewer = watch:*; operator = watch:* admin.",
    )

    session_cookie: str | None = Field(
        None, description="The cookie of the application that holds a token, checked like others."
    )

    forward_auth_url: str | None = Field(
        None,
        description="Your own endpoint that says who may what; asked about credentials that "
        "nothing else here checks.",
    )
    forward_auth_timeout_seconds: Seconds = Field(
        2, description="The longest wait for its answer; without one, nobody gets in."
    )
    forward_auth_cache_seconds: float = Field(
        5, ge=0, le=300, description="How long its answer holds for new requests."
    )

    ticket_secret: SecretStr | None = Field(
        None,
        description="What tickets are signed with, the same for all edges: at least 32 bytes. "
        "Several, separated by spaces: the first signs, all are good.",
    )
    ticket_seconds: Seconds = Field(
        300, description="How long a ticket lasts unless asked for less."
    )
    ticket_audience: str = Field(
        "runcast", min_length=1, description="Whose tickets these are; others' are refused."
    )

    revocations_key: str = Field(
        "runcast:revoked",
        min_length=1,
        description="The stream of what runcast revoke has revoked.",
    )
    hide_runs: bool = Field(
        True,
        description="Answer 404 for a run that exists and is not theirs, as for one that does not.",
    )
    metrics_public: bool = Field(
        False, description="Show /metrics to everyone, although authentication is set up."
    )

    cors_origins: str = Field(
        "",
        description="Origins whose pages may read the answers, comma-separated and exact, such as "
        "https://app.example.com; * for all, without cookies.",
    )
    cors_credentials: bool = Field(
        False, description="Whether these pages may have the browser send cookies."
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of the proxies whose X-Forwarded-For is believed, "
        "comma-separated; without any, the header is not read.",
    )

    max_connections: Count | None = Field(
        None,
        description="The most connections of one process, of all kinds; more are answered 503. "
        "Without it, what the limit of open files (ulimit -n) leaves room for.",
    )
    max_connections_per_address: Count | None = Field(
        None,
        description="The same from one address (of IPv6, one /64), proxies that are trusted "
        "excepted.",
    )
    connections_per_second: Count | None = Field(
        None,
        description="New connections that one process takes, on average; as many may come at once.",
    )
    max_streams: Count | None = Field(
        None,
        description="The most viewers of one process, long polls included; more are asked to come "
        "back.",
    )
    max_streams_per_address: Count | None = Field(
        None, description="The same from one address (of IPv6, one /64), as proxies say it."
    )
    max_streams_per_subject: Count | None = Field(None, description="The same of one subject.")
    max_streams_per_run: Count | None = Field(None, description="The same of one run.")
    max_age_seconds: Seconds | None = Field(
        None,
        description="How long a stream may last; each lasts 80 to 100 % of it, and its client "
        "comes back.",
    )
    max_request_line_bytes: int = Field(
        8 << 10, ge=256, le=1 << 16, description="The most bytes of a request's target (414)."
    )
    max_headers_bytes: int = Field(
        32 << 10, ge=1024, le=1 << 16, description="The most bytes of a request's headers (431)."
    )
    headers_seconds: Seconds = Field(
        10, description="How long a client may take to send a request's head (408)."
    )

    @property
    def credential_kinds(self) -> frozenset[CredentialKind]:
        """What may prove who asks; empty where everyone may do everything."""
        kinds = set()
        if self.api_keys_file is not None:
            # Many clients can send their key as a bearer token only.
            kinds |= {CredentialKind.API_KEY, CredentialKind.BEARER}
        if self.checks_tokens:
            kinds.add(CredentialKind.BEARER)
            if self.session_cookie is not None:
                kinds.add(CredentialKind.SESSION)
        if self.forward_auth_url is not None:
            kinds |= {CredentialKind.API_KEY, CredentialKind.BEARER, CredentialKind.SESSION}
        if kinds and self.ticket_secret is not None:
            kinds.add(CredentialKind.TICKET)
        return frozenset(kinds)

    @property
    def connection_limits(self) -> ConnectionLimits:
        """Bounds on connections and heads of requests."""
        return ConnectionLimits(
            connections=self.max_connections or connections_that_fit(),
            per_address=self.max_connections_per_address,
            per_second=self.connections_per_second,
            trusted_proxies=names(self.trusted_proxies),
            request_line_bytes=self.max_request_line_bytes,
            headers_bytes=self.max_headers_bytes,
            headers_seconds=self.headers_seconds,
        )

    @property
    def stream_limits(self) -> StreamLimits:
        """Bounds on streams."""
        return StreamLimits(
            streams=self.max_streams,
            per_address=self.max_streams_per_address,
            per_subject=self.max_streams_per_subject,
            per_run=self.max_streams_per_run,
        )

    @property
    def checks_tokens(self) -> bool:
        """Whether tokens are checked here."""
        return self.jwt_key_file is not None or self.jwt_jwks_url is not None

    @property
    def ticket_secrets(self) -> list[bytes]:
        """The one that signs first, then those that are good as well."""
        if self.ticket_secret is None:
            return []
        return [secret.encode() for secret in self.ticket_secret.get_secret_value().split()]

    @property
    def role_rights(self) -> dict[str, Rights]:
        """What each role may."""
        roles = {}
        for entry in filter(str.strip, self.jwt_roles.split(";")):
            role, equals, rights = entry.partition("=")
            if not equals or not role.strip():
                raise ValueError("write role = rights; role = rights")
            roles[role.strip()] = Rights.parse(rights)
        return roles

    @field_validator("ticket_secret")
    @classmethod
    def _secrets_are_long(cls, secret: SecretStr | None) -> SecretStr | None:
        for one in () if secret is None else secret.get_secret_value().split():
            if len(one.encode()) < _SECRET_BYTES:
                raise ValueError(
                    f"needs {_SECRET_BYTES} bytes or more each: openssl rand -base64 48"
                )
        return secret

    @field_validator("session_cookie")
    @classmethod
    def _cookie_has_form(cls, name: str | None) -> str | None:
        if name is not None and _COOKIE.fullmatch(name) is None:
            raise ValueError("is not the name of a cookie")
        return name

    @field_validator("jwt_algorithms")
    @classmethod
    def _algorithms_fit(cls, text: str) -> str:
        given = names(text)
        for name in given:
            if _ALGORITHMS.fullmatch(name) is None:
                raise ValueError(f"{name!r} is none; use HS256, RS256, PS256, ES256 or EdDSA")
        if len({name.startswith("HS") for name in given}) > 1:
            raise ValueError("HS goes with no other: a public key would pass for its secret")
        return text

    @field_validator("jwt_roles")
    @classmethod
    def _roles_have_form(cls, text: str) -> str:
        Settings.model_construct(jwt_roles=text).role_rights  # noqa: B018
        return text

    @field_validator("jwt_rights")
    @classmethod
    def _rights_have_form(cls, text: str) -> str:
        ClaimedRights(text, None, None, {})
        return text

    @field_validator("jwt_subject_claim", "jwt_rights_claim", "jwt_roles_claim")
    @classmethod
    def _claims_have_form(cls, name: str | None) -> str | None:
        if name is not None:
            claim_path(name)
        return name

    @field_validator("jwt_jwks_url", "forward_auth_url")
    @classmethod
    def _urls_have_form(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            # A port that is none raises by itself.
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            if not usable:
                raise ValueError("must be an http:// or https:// URL")
            if parts.username is not None:
                raise ValueError("must have no user and password: URLs are shown")
        return url

    @field_validator("cors_origins")
    @classmethod
    def _origins_have_form(cls, text: str) -> str:
        origins = names(text)
        for origin in origins:
            parts = urlsplit(origin)
            bare = f"{parts.scheme}://{parts.netloc}"
            if origin != "*" and (parts.scheme not in ("http", "https") or origin != bare.lower()):
                raise ValueError(
                    f"{origin!r} is not an origin: write https://app.example.com, without a path"
                )
        if "*" in origins and len(origins) > 1:
            raise ValueError("* is all of them: leave the others out")
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_have_form(cls, text: str) -> str:
        for proxy in names(text):
            ipaddress.ip_network(proxy)
        return text

    @model_validator(mode="after")
    def _tokens_can_be_checked(self) -> Self:
        if not self.checks_tokens:
            if self.session_cookie is not None and self.forward_auth_url is None:
                raise ValueError("session_cookie: set jwt_jwks_url or jwt_key_file as well")
            return self
        if self.jwt_key_file is not None and self.jwt_jwks_url is not None:
            raise ValueError("jwt_key_file and jwt_jwks_url: set one of them")
        if not self.jwt_algorithms:
            raise ValueError("jwt_algorithms: name those that your tokens are signed with")
        if self.jwt_audience is None:
            raise ValueError(
                "jwt_audience: set it; without, tokens that were made for others would be good here"
            )
        if self.jwt_jwks_url is not None:
            if self.jwt_issuer is None:
                raise ValueError("jwt_issuer: set it to the iss of your identity provider's tokens")
            if self.jwt_algorithms.startswith("HS"):
                raise ValueError("jwt_algorithms: HS has no public keys; set jwt_key_file")
            parts = urlsplit(self.jwt_jwks_url)
            if parts.scheme == "http" and not (self.insecure or _is_loopback(parts.hostname or "")):
                raise ValueError(
                    "jwt_jwks_url: use https://, or add --insecure: whoever is in between could "
                    "put in a key of their own"
                )
        return self

    @model_validator(mode="after")
    def _cookies_go_to_the_named_only(self) -> Self:
        if self.cors_credentials and self.cors_origins in ("", "*"):
            raise ValueError("cors_credentials: name the origins in cors_origins")
        return self

    @model_validator(mode="after")
    def _routes_can_be_used(self) -> Self:
        kinds = self.credential_kinds
        for profile in self.profiles if kinds else ():
            for route in profile.routes:
                if route.credentials and kinds.isdisjoint(map(CredentialKind, route.credentials)):
                    raise ValueError(
                        f"profile {profile.name}: {route.path} takes "
                        f"{' or '.join(route.credentials)} only, and none of these is set up"
                    )
        return self


def load_settings(flags: dict[str, Any], *, listens: bool = True) -> Settings:
    """The settings from file, environment and `flags`.

    Args:
        flags: those that are `None` were not given.
        listens: whether the address is going to be listened on, and so must be a safe one.

    Raises:
        SettingsError: one can't be used.
    """
    for name in os.environ:
        # A misspelt one would be ignored in silence, and the edge run on something else.
        if (
            name.startswith(PREFIX)
            and not name.startswith(_NOT_SETTINGS)
            and name.removeprefix(PREFIX).lower() not in Settings.model_fields
        ):
            raise SettingsError(f"{name}: there is no such setting; see runcast serve --help")
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(_first_line(error)) from None
    except (ValueError, OSError) as error:
        # A file that is not TOML, or can't be read.
        raise SettingsError(f"{CONFIG_FILE}: {error}") from None
    open_to_all = not settings.credential_kinds
    if listens and open_to_all and not settings.insecure and not _is_loopback(settings.host):
        raise SettingsError(
            f"host {settings.host} can be reached by others and no authentication is set up: "
            "see docs/authentication.md, use 127.0.0.1 behind a proxy that authenticates, or add "
            "--insecure"
        )
    return settings


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"there is no such setting; see runcast serve --help, and {CONFIG_FILE}"
    return f"{name}: {message}" if name else message


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
