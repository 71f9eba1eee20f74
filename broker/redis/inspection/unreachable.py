"""Why a server can't be used at all, in words that say what to change."""

import ssl
from collections.abc import Iterator
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.redis.connections import describe
from broker.redis.inspection.findings import Finding, Level

__all__ = ["is_about_naming", "judge_failure"]

Failure = RedisError | OSError | TimeoutError

# OpenSSL's numbers for why a certificate was refused (x509_vfy.h).
_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_WRONG_HOST: Final = frozenset({62, 64})
_UNKNOWN_HOST: Final = ("name or service not known", "name resolution", "nodename nor servname")
"""As Linux and macOS put it."""


def judge_failure(error: Failure, *, tls: bool) -> Finding:
    """What it means that a server could not be asked anything.

    Args:
        error: what redis-py raised.
        tls: whether it was spoken to with TLS.
    """
    found, advice = _explained(error, tls=tls)
    return Finding("reachable", Level.PROBLEM, found, advice)


def is_about_naming(error: NoPermissionError) -> bool:
    """Whether the connection was refused only because it has a name (CLIENT SETNAME)."""
    # 6.2 says "the 'client' command or its subcommand".
    return "'client" in str(error).lower()


def _explained(error: Failure, *, tls: bool) -> tuple[str, str]:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _about_certificate(cause)
        if isinstance(cause, ssl.SSLError):
            return _about_tls(cause)
    if isinstance(error, NoPermissionError):
        if is_about_naming(error):
            return (
                describe(error),
                "permit connections to be named: add +client|setname to the user's ACL rules",
            )
        return describe(error), "add what is missing to the user's ACL rules"
    if isinstance(error, (AuthenticationError, ResponseError, BusyLoadingError)):
        return _about_answer(error)
    if isinstance(error, (TimeoutError, RedisTimeoutError)):
        # A server that does not speak TLS waits for the end of what it takes for a command.
        or_else = "write redis:// if it does not speak TLS there" if tls else "correct --redis-url"
        return describe(error), f"see why that server does not answer, or {or_else}"
    return _about_connection(error, tls=tls)


def _about_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    found = f"its certificate is not accepted: {error.verify_message}"
    if error.verify_code in _WRONG_HOST:
        return found, "use the host name in --redis-url that the certificate is for"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return found, "renew the certificate, or set the clock"
    return (
        found,
        "say which authority to trust: add ?ssl_ca_certs=/path/to/ca.pem to --redis-url",
    )


def _about_tls(error: ssl.SSLError) -> tuple[str, str]:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "certificate required" in reason or "handshake failure" in reason:
        return (
            f"TLS was refused: {reason}",
            "it wants a certificate of ours: add "
            "?ssl_certfile=/path/to/cert.pem&ssl_keyfile=/path/to/key.pem to --redis-url",
        )
    return (
        f"it does not speak TLS there: {reason}",
        "write redis:// instead of rediss://, or give its TLS port",
    )


def _about_answer(error: RedisError) -> tuple[str, str]:
    text = str(error)
    lower = text.lower()
    if isinstance(error, BusyLoadingError) or text.startswith("LOADING"):
        return "it is loading its data", "wait until it has"
    if "protected mode" in lower:
        return (
            "it is in protected mode, which lets only its own machine in",
            "set a password for it, or let it listen on chosen addresses only (bind), "
            "and set protected-mode no",
        )
    if "without any password configured" in lower:
        return "a password was given, and it has none", "leave the password out of --redis-url"
    if "authentication required" in lower or text.startswith("NOAUTH"):
        return "it wants a password", "write redis://user:password@… in --redis-url"
    if "wrongpass" in lower or "invalid username-password" in lower or "invalid password" in lower:
        return (
            "wrong user or password, or the user is switched off",
            "correct the user and password in --redis-url",
        )
    return describe(error), "correct the user and password in --redis-url"


def _about_connection(error: Failure, *, tls: bool) -> tuple[str, str]:
    found, lower = describe(error), str(error).lower()
    if "max number of clients" in lower:
        return found, "raise its maxclients, or close connections that nobody needs"
    if any(words in lower for words in _UNKNOWN_HOST):
        return found, "correct the host name in --redis-url"
    if not tls and ("closed by server" in lower or "reset by peer" in lower):
        return found, "if it speaks TLS there, write rediss:// instead of redis://"
    return found, "start that server, or correct --redis-url"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
