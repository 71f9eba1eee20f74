"""The sockets that an edge listens on: bound before anything else is started, so that an address
that can't be had is said at once.
"""

import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

__all__ = ["AddressInUse", "bind", "bind_for_workers", "url_of"]

_BALANCES: Final = sys.platform == "linux"
"""Whether the kernel spreads connections evenly over sockets that share a port. Elsewhere
SO_REUSEPORT is there too, but the socket that came last takes nearly all."""
_UNACKNOWLEDGED_MILLISECONDS: Final = 60_000
"""How long sent bytes may stay unacknowledged before the kernel ends a connection: a client that
vanished without a word would otherwise be kept for many minutes."""
_BACKLOG: Final = 2048
"""Connections that wait to be accepted, as uvicorn has it."""


class AddressInUse(RuntimeError):
    """The address can't be listened on; the message says what to change."""


def bind(host: str, port: int) -> socket.socket:
    """A socket on the address; it does not listen yet.

    Raises:
        AddressInUse: the address is taken, or not ours.
    """
    try:
        return _bound(host, port, shared=False)
    except OSError as error:
        raise _in_use(host, port, error) from error


def bind_for_workers(host: str, port: int, count: int) -> Sequence[socket.socket]:
    """Sockets on one port, one for each worker, that listen already.

    Where the kernel balances, each has its own queue; elsewhere they are one, under several
    descriptors. What is queued survives the worker, as long as the socket is kept open here.

    Args:
        host: the address.
        port: its port; 0 takes a free one.
        count: how many.

    Raises:
        AddressInUse: the address is taken, or not ours.
    """
    with ExitStack() as opened:
        try:
            # Alone at first: a port that someone else listens on is refused, even if they share.
            first = opened.enter_context(_bound(host, port, shared=False))
            listeners = [first]
            if _BALANCES:
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for _ in range(count - 1):
                following = (
                    _bound(host, first.getsockname()[1], shared=True) if _BALANCES else first.dup()
                )
                listeners.append(opened.enter_context(following))
            for listener in listeners:
                listener.listen(_BACKLOG)
        except OSError as error:
            raise _in_use(host, port, error) from error
        opened.pop_all()
        return listeners


def url_of(listener: socket.socket, host: str) -> str:
    """The URL of what is served on a bound socket, with the host as it was given."""
    shown = f"[{host}]" if listener.family is socket.AF_INET6 else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Connections inherit it (tcp(7)): one call here instead of one for each.
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MILLISECONDS
            )
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _in_use(host: str, port: int, error: OSError) -> AddressInUse:
    reason = error.strerror or error
    return AddressInUse(f"can't listen on {host}:{port} ({reason}): choose another --port")
