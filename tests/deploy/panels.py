"""What the dashboard asks Prometheus."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.deploy.programs import DEPLOY

__all__ = ["DASHBOARD", "Question", "dashboard", "questions"]

DASHBOARD: Final = DEPLOY / "grafana" / "runcast.json"
_VARIABLES: Final = {
    "$__rate_interval": "10s",
    "$job": "runcast",
    "$instance": ".*",
}
"""What Grafana would put in their places."""


@dataclass(frozen=True)
class Question:
    """One expression of a panel."""

    panel: str
    expression: str

    @property
    def asked(self) -> str:
        """As Grafana sends it."""
        text = self.expression
        for name, value in _VARIABLES.items():
            text = text.replace(name, value)
        assert "$" not in text, f"{self.panel}: a variable that nobody replaces: {text}"
        return text


def dashboard() -> dict[str, Any]:
    """The file."""
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return document


def questions() -> Iterator[Question]:
    """All of them, with where they are asked."""
    section = ""
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            section = panel["title"]
        for target in panel.get("targets", []):
            yield Question(f"{section}: {panel['title']}", target["expr"])
