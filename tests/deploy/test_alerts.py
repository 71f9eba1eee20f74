"""The alert rules, as `promtool` takes them, and their own tests."""

import re
from typing import Any, Final

import pytest
import yaml

from tests.deploy.programs import DEPLOY, ROOT, check, program

PROMETHEUS: Final = DEPLOY / "prometheus"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_promtool_finds_nothing_wrong() -> None:
    said = check(program("promtool"), "check", "rules", PROMETHEUS / "alerts.yaml")
    assert f"SUCCESS: {len(alerts())} rules found" in said


def test_they_fire_when_they_should_and_only_then() -> None:
    check(program("promtool"), "test", "rules", "alerts.test.yaml", cwd=PROMETHEUS)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_says_what_to_do_and_is_tested(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "action", "runbook"}
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.strip("`").lower() for heading in headings}
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in _fired()


def _fired() -> set[str]:
    """The alerts that some test expects to fire."""
    fired = set()
    for test in yaml.safe_load((PROMETHEUS / "alerts.test.yaml").read_text())["tests"]:
        for asked in test.get("alert_rule_test", []):
            fired |= {asked["alertname"]} if asked["exp_alerts"] else set()
        for asked in test.get("promql_expr_test", []):
            for sample in asked["exp_samples"]:
                fired |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))
    return fired
