"""AG-UI's own client (npm's `@ag-ui/client`) in a Node process; see tests/clients/node/agui.mjs."""

import json
import shutil
import subprocess
from pathlib import Path
from threading import Timer
from typing import Any, Final

import pytest

__all__ = ["Client", "gaps_of", "needs_agui_client", "texts_of"]

_DIRECTORY: Final = Path(__file__).parents[1] / "clients" / "node"
_ANSWER_SECONDS: Final = 20

needs_agui_client: Final = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (_DIRECTORY / "node_modules" / "@ag-ui" / "client").is_dir(),
        reason="npm's @ag-ui/client is not installed: run npm ci in tests/clients/node",
    ),
]


class Client:
    """A Node process with the client in it; see agui.mjs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "agui.mjs"],
            cwd=_DIRECTORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """What it makes of this."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        watchdog = Timer(_ANSWER_SECONDS, self._process.kill)
        watchdog.start()
        try:
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        finally:
            watchdog.cancel()
        return answer

    def accepts(self, body: bytes, **had: Any) -> dict[str, Any]:
        """The same; it must not have complained."""
        answer = self.ask({"body": body.decode(), **had})
        assert (answer["thrown"], answer["warnings"]) == (None, []), body.decode()
        return answer

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def texts_of(answer: dict[str, Any]) -> dict[str, str]:
    """All that was streamed, by what it is of."""
    texts = {}
    for message in answer["messages"]:
        texts[message["id"]] = str(message.get("content", ""))
        for call in message.get("toolCalls", []):
            texts[f"call {call['id']}"] = call["function"]["arguments"]
    return texts


def gaps_of(answer: dict[str, Any]) -> int:
    """How often a gap was said."""
    return [each["name"] for each in answer["custom"]].count("runcast.gap")
