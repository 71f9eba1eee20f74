"""The Lua scripts: what has to be read and written in one step."""

import hashlib
from functools import cached_property
from importlib import resources
from typing import Any, Final

from redis.exceptions import NoScriptError

from broker.redis.deployment import Deployment

__all__ = ["AGENT", "APPEND", "ENDED", "END_IF_LOST", "KEEP", "REQUEST", "RESERVE", "Script"]


class Script:
    """One of them. Servers keep scripts by their hash, and may forget them."""

    def __init__(self, *names: str) -> None:
        """
        Args:
            names: files of ``lua/``, put one after the other.
        """
        self._names = names

    @cached_property
    def text(self) -> str:
        """The source."""
        folder = resources.files("broker.redis") / "lua"
        return "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in self._names)

    @cached_property
    def digest(self) -> str:
        """The name that servers know it by."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, deployment: Deployment, keys: tuple[str, ...], *arguments: bytes | str | int
    ) -> Any:
        """Its answer, as RESP has it.

        Args:
            deployment: where the keys are.
            keys: all that it touches; of one slot.
            arguments: its ``ARGV``.

        Raises:
            RedisError, OSError: the server says no, or does not answer.
        """
        words = (len(keys), *keys, *arguments)
        try:
            return await deployment.ask(keys[0], "EVALSHA", self.digest, *words)
        except NoScriptError:
            # It has done nothing. With the source it is kept for the next time.
            return await deployment.ask(keys[0], "EVAL", self.text, *words)


AGENT: Final = Script("agent")
APPEND: Final = Script("run", "append")
ENDED: Final = Script("run", "ended")
END_IF_LOST: Final = Script("run", "end_if_lost")
RESERVE: Final = Script("reserve")
KEEP: Final = Script("keep")
REQUEST: Final = Script("request")
