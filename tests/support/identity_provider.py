"""An identity provider: signs tokens, and serves its public keys over HTTP as told to."""

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

__all__ = ["AUDIENCE", "ISSUER", "IdentityProvider", "SigningKey", "compact", "new_key"]

ISSUER: Final = "https://idp.example.com/"
AUDIENCE: Final = "runcast-test"
_LONGEST_SECONDS: Final = 30


@dataclass
class SigningKey:
    """A key with its name."""

    kid: str
    algorithm: str
    private: Any
    """For HS the secret."""

    @property
    def public(self) -> Any:
        return self.private if isinstance(self.private, bytes) else self.private.public_key()

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as the provider publishes it."""
        jwk: dict[str, Any] = get_default_algorithms()[self.algorithm].to_jwk(
            self.public, as_dict=True
        )
        return {**jwk, "kid": self.kid, "alg": self.algorithm, "use": "sig", **members}


def new_key(algorithm: str, kid: str | None = None, *, bits: int = 2048) -> SigningKey:
    """A new key for an algorithm."""
    private: Any
    match algorithm[:2]:
        case "HS":
            private = secrets.token_bytes(64)
        case "RS" | "PS":
            private = rsa.generate_private_key(65537, bits)
        case "ES":
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            private = ec.generate_private_key(curves[algorithm])
        case _:
            private = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(kid or f"{algorithm.lower()}-{secrets.token_hex(4)}", algorithm, private)


def compact(header: Any, payload: Any, key: SigningKey | None, algorithm: str | None = None) -> str:
    """A token with any header and payload; bytes are taken as they are.

    Args:
        header: as JSON, or bytes.
        payload: the same.
        key: signs it; `None` leaves the signature empty.
        algorithm: signs it in truth, whatever the header says; the key's own by default.
    """
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)
    ]
    message = b".".join(_encoded(part) for part in parts)
    if key is None:
        return f"{message.decode()}."
    signature = get_default_algorithms()[algorithm or key.algorithm].sign(message, key.private)
    return f"{message.decode()}.{_encoded(signature).decode()}"


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@dataclass
class IdentityProvider:
    """One that listens on a port of its own. Use it as a context manager."""

    keys: list[SigningKey] = field(default_factory=list)
    """Those published; the first signs."""
    body: bytes | None = None
    """What is answered instead of the keys."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """Further ones of the answer."""
    hold_seconds: float = 0
    """How long each answer is held back, unless `release` is called."""
    drip_seconds: float = 0
    """How long each byte of an answer is held back; the same."""
    fetches: int = 0
    """How often somebody has asked."""

    def __post_init__(self) -> None:
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.down()

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.port}/jwks.json"

    def up(self) -> None:
        """Listens, on the port of before if there was one."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.fetches += 1
                provider._released.wait(min(provider.hold_seconds, _LONGEST_SECONDS))
                body = provider._document()
                self.send_response(provider.status)
                for name, value in provider.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                for piece in provider._pieces(body):
                    self.wfile.write(piece)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def down(self) -> None:
        """Refuses connections from now on."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=_LONGEST_SECONDS)
        self._server = self._thread = None

    def release(self) -> None:
        """Lets all answers go that are held back."""
        self._released.set()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token, with changes; `None` takes a claim away."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "iat": now, "exp": now + 600}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(
        self, key: SigningKey | None = None, header: dict[str, Any] | None = None, **changes: Any
    ) -> str:
        """A token with these claims; see `claims`. A header of `None` takes a member away."""
        key = key or self.keys[0]
        whole = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT", **(header or {})}
        shown = {name: value for name, value in whole.items() if value is not None}
        return compact(shown, self.claims(**changes), key)

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        if not self.drip_seconds:
            yield body
            return
        for place in range(len(body)):
            self._released.wait(self.drip_seconds)
            yield body[place : place + 1]

    def _document(self) -> bytes:
        if self.body is not None:
            return self.body
        return json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()
