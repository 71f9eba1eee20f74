"""Makes docs/settings.md, docs/metrics.md and docs/openapi.json from the code, so that they can't
lag behind it.

.venv/bin/python scripts/reference.py            writes them
.venv/bin/python scripts/reference.py --check    says whether they are up to date
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

from prometheus_client.metrics_core import Metric
from pydantic.fields import FieldInfo

from broker.edge.auth.identity import CredentialKind
from broker.edge.openapi import make_document
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.stats import PublishingStats
from broker.edge.refusals import Refusals
from broker.engine.hub import Hub
from broker.engine.limits import Limits
from broker.engine.stats import Stats
from broker.metrics import EdgeCollector
from broker.redis.catalogue import Catalogue, Reading
from broker.redis.opening import make_deployment
from broker.redis.routed_tail import RoutedTail
from broker.redis.streams import KeyTemplate, RedisLog
from broker.redis.tail import TailSettings
from broker.settings import Settings
from broker.wire.event import EventFormat
from broker.wire.request import RequestLimits

_DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_NOWHERE: Final = "redis://localhost"
_DIRECTORY: Final = "the user's data directory"


def settings_page() -> str:
    """`docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "From `runcast.toml` in the current directory, then `RUNCAST_…` in the environment, then",
        "flags; the later wins. `runcast serve --help` says the same. Times are in seconds, sizes",
        "in bytes.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{name}` | {_default(name, field)} | {_meaning(field)} |")
    return "\n".join([*lines, ""])


def metrics_page() -> str:
    """`docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "What `/metrics` shows besides the process' own (`process_…`, `python_…`).",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for family in sorted(_families(), key=lambda family: family.name):
        suffix = "_total" if family.type == "counter" else ""
        labels = sorted(
            {label for sample in family.samples for label in sample.labels if label != "le"}
        )
        shown = ", ".join(f"`{label}`" for label in labels) or "-"
        lines.append(
            f"| `{family.name}{suffix}` | {family.type} | {shown} | {family.documentation} |"
        )
    return "\n".join([*lines, ""])


def openapi_document() -> str:
    """`docs/openapi.json`: what an edge with default limits that takes events, and all kinds of
    credentials, serves at `/openapi.json`."""
    return (
        json.dumps(
            make_document(RequestLimits(), PublishingLimits(), list(CredentialKind), admin=True),
            indent=2,
        )
        + "\n"
    )


def _default(name: str, field: FieldInfo) -> str:
    if name == "embedded_directory":
        return _DIRECTORY
    if field.default is None:
        return "-"
    shown = str(field.default)
    return f"`{shown.lower() if isinstance(field.default, bool) else shown}`"


def _meaning(field: FieldInfo) -> str:
    text = (field.description or "").replace("|", "\\|")
    if get_origin(field.annotation) is Literal:
        choices = ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
        return f"{text} One of {choices}."
    return text


def _families() -> Iterator[Metric]:
    deployment = make_deployment(_NOWHERE, connections=1, timeout_seconds=1)
    keys = KeyTemplate("run:{run_id}")
    log = RedisLog(deployment, Catalogue(Reading(keys, EventFormat())))
    log.errors["ConnectionError"] = 0
    tail = RoutedTail(deployment, TailSettings(), keys, random.Random())
    hub = Hub(
        log,
        tail,
        Limits(),
        Stats(),
        clock=lambda: 0,
        wall_ms=lambda: 0,
        random_source=random.Random(),
    )
    writing = PublishingStats()
    writing.refused["too-large"] = 0
    return EdgeCollector(hub, tail, log, writing, Refusals()).collect()


def main() -> int:
    """Writes the pages, or checks them."""
    pages = {
        "settings.md": settings_page(),
        "metrics.md": metrics_page(),
        "openapi.json": openapi_document(),
    }
    if "--check" not in sys.argv[1:]:
        for name, page in pages.items():
            (_DOCS / name).write_text(page)
        return 0
    stale = [
        name
        for name, page in pages.items()
        if not (_DOCS / name).exists() or (_DOCS / name).read_text() != page
    ]
    if stale:
        print(f"run scripts/reference.py: {', '.join(stale)} lag behind the code")
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
