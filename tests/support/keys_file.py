"""A file of API keys, as an operator has one; keys are their names with `k-` before them."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["KeysFile"]


@dataclass
class KeysFile:
    """Writes itself anew with each change."""

    path: Path
    _entries: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, *rights: str, subject: str | None = None, expires: Any = None) -> None:
        """Adds a key, or changes what it may."""
        digest = hashlib.sha256(self.key(name).encode()).hexdigest()
        lines = [
            "[[keys]]",
            f"name = {json.dumps(name)}",
            f'hash = "sha256:{digest}"',
            f"rights = {json.dumps(rights)}",
        ]
        if subject is not None:
            lines.append(f"subject = {json.dumps(subject)}")
        if expires is not None:
            lines.append(f"expires = {expires.isoformat()}")
        self._entries[name] = lines
        self._write()

    def remove(self, name: str) -> None:
        """Takes it out."""
        del self._entries[name]
        self._write()

    @staticmethod
    def key(name: str) -> str:
        """The key itself."""
        return f"k-{name}"

    @classmethod
    def headers(cls, name: str) -> dict[str, str]:
        """What its owner sends."""
        return {"X-API-Key": cls.key(name)}

    def _write(self) -> None:
        made = self.path.with_suffix(".new")
        made.write_text("\n".join(line for lines in self._entries.values() for line in lines))
        made.replace(self.path)
