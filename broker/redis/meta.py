"""The one key beside a run's stream: who has appended what, how long its worker lives, how it goes.

A hash in the stream's own Cluster slot, so that one script may write both. It expires with the
stream, and nothing that plain ``XADD`` producers do needs it.

============== ==================================================================================
field          value
============== ==================================================================================
``p:PRODUCER`` ``<sequence> <id> <sequence> <id>``: the producer's last event, and the first one of
               the call that appended it
``final``      id of the terminal event, where it was appended through us
``lease``      milliseconds since 1970, by Redis' clock, until which the worker is taken to be alive
``heard``      the same, when the lease was last renewed
``lost``       why the run is lost when the lease runs out: ``worker_lost`` or ``no_worker``
``status``     short text for viewers, such as ``running``
``phase``      short text for viewers, such as ``planning``
``owner``      the subject whose run it is, for rights on one's own runs
============== ==================================================================================
"""

from typing import Final

__all__ = ["ANNOUNCER", "META", "OWNER", "beside", "meta_key", "producer_field"]

META: Final = "meta"
OWNER: Final = "owner"
ANNOUNCER: Final = "runcast.requests"
"""The producer of the event that says that a run is queued."""


def meta_key(key: str) -> str:
    """The meta key of the run with the stream `key`: ``{run:42}:meta`` for ``run:42``.

    Raises:
        ValueError: see `beside`.
    """
    return beside(key, META)


def producer_field(producer: str) -> str:
    """The field that has what a producer has appended last."""
    return f"p:{producer}"


def beside(key: str, name: str) -> str:
    """A key in the Cluster slot of `key`, named after it.

    A slot comes from what is between the first ``{`` and the next ``}``, if there is anything, else
    from the whole key (Redis Cluster specification, "Hash tags").

    Raises:
        ValueError: the key has braces that are no hash tag, and so no other key can be made to have
            its slot.
    """
    _, opening, rest = key.partition("{")
    tag, closing, _ = rest.partition("}")
    if opening and closing and tag:
        return f"{key}:{name}"
    if "}" in key:
        raise ValueError(f"{key!r} has a brace that is no part of a hash tag: take it out")
    return f"{{{key}}}:{name}"
