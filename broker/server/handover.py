"""What the supervisor and a worker say to each other, over the worker's standard input and output.

First the handover, one line of JSON: it has the Redis password, which no command line or
environment should show. Then words, each a line. That the input ends says that the supervisor has.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import orjson
from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from broker.settings import Settings

__all__ = ["ALIVE", "ALIVE_SECONDS", "LEAVE", "LEAVE_AT_ONCE", "LISTENING", "Handover"]

LISTENING: Final = b"listening\n"
"""From a worker, once: it accepts connections."""
ALIVE: Final = b"alive\n"
"""From a worker: its event loop turns."""
ALIVE_SECONDS: Final = 1.0
"""How often it says so."""
LEAVE: Final = b"leave\n"
"""To a worker: drain, then end."""
LEAVE_AT_ONCE: Final = b"leave at once\n"
"""To a worker: end without waiting for viewers."""


@dataclass(frozen=True, slots=True)
class Handover:
    """All that a worker needs to run an edge."""

    number: int
    """Which of the workers it is, from 1."""
    listener: int
    """The descriptor of the socket it accepts from."""
    directory: Path
    """Where workers keep their numbers for each other."""
    redis_url: str = field(repr=False)
    settings: Settings

    def line(self) -> bytes:
        """As it is sent."""
        # Values as they are: the settings' own JSON hides secrets.
        secrets = {
            name: value.get_secret_value()
            for name, value in self.settings
            if isinstance(value, SecretStr)
        }
        settings = self.settings.model_dump(mode="json") | secrets | {"redis_url": self.redis_url}
        document = {
            "number": self.number,
            "listener": self.listener,
            "directory": str(self.directory),
            "settings": settings,
        }
        return orjson.dumps(document) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """From what was sent."""
        document: dict[str, Any] = orjson.loads(line)
        return cls(
            number=document["number"],
            listener=document["listener"],
            directory=Path(document["directory"]),
            redis_url=document["settings"]["redis_url"],
            settings=_Given(**document["settings"]),
        )


class _Given(Settings):
    """Settings that the supervisor has read: what file and environment say by now is not asked."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
