"""The dashboard's form. What its panels ask is asked for real in `test_prometheus.py`."""

from typing import Any

import pytest

from tests.deploy.panels import dashboard


def test_no_panel_covers_another_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


def test_every_variable_is_there() -> None:
    names = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert names == {"datasource", "job", "instance"}


def test_grafana_knows_all_that_it_has() -> None:
    """Grafana's own model of a dashboard, which leaves out what it does not know."""
    pytest.importorskip("grafana_foundation_sdk")
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard())))
    assert list(_lost(dashboard(), known, "")) == []


def _lost(written: Any, known: Any, where: str) -> list[str]:
    """The places of what was written and is not known."""
    if isinstance(written, dict) and isinstance(known, dict):
        return [
            place
            for name, value in written.items()
            for place in (
                _lost(value, known[name], f"{where}.{name}")
                if name in known
                else [f"{where}.{name}"]
            )
        ]
    if isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        return [
            place
            for number, (one, other) in enumerate(zip(written, known, strict=True))
            for place in _lost(one, other, f"{where}[{number}]")
        ]
    return [] if written == known else [where]
