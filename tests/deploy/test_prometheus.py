"""A real Prometheus with our files, on a real edge, asked what the dashboard asks."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from tests.deploy.panels import questions
from tests.deploy.programs import DEPLOY, program
from tests.deploy.test_alerts import alerts
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import append
from tests.support.servers import available_kinds, free_port, redis_of_kind
from tests.support.viewer import watch
from tests.support.waiting import eventually, eventually_sync

pytestmark = pytest.mark.timeout(120)

QUIET: Final = {
    "Redis: Errors",
    "Publishing over HTTP: Refused",
}
"""Panels that are empty until something goes wrong: their series begin then."""


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_of_kind(available_kinds()[0]) as url:
        yield url


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    file = KeysFile(tmp_path_factory.mktemp("keys") / "keys.toml")
    file.add("prometheus", "metrics")
    file.add("viewer", "watch:*")
    return file


@pytest.fixture(scope="module")
def edge(redis_url: str, keys: KeysFile) -> Iterator[Edge]:
    """An edge whose metrics are not for everybody."""
    edge = Edge(redis_url, api_keys_file=keys.path)
    yield edge
    edge.close()


class Prometheus:
    """A server with the files of `deploy/prometheus`."""

    def __init__(self, directory: Path, target: str, key: str) -> None:
        self._url = f"http://127.0.0.1:{free_port()}"
        self._http = httpx.Client(base_url=self._url)
        shutil.copy(DEPLOY / "prometheus" / "alerts.yaml", directory)
        (directory / "metrics.key").write_text(key)
        text = (DEPLOY / "prometheus" / "prometheus.yaml").read_text()
        for ours, theirs in (
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
            ("/run/secrets/runcast/metrics.key", str(directory / "metrics.key")),
            ("[edge-1.internal:8080, edge-2.internal:8080]", f"[{target}]"),
        ):
            assert text.count(ours) == 1, ours
            text = text.replace(ours, theirs)
        (directory / "prometheus.yaml").write_text(text)
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={directory / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
            )

    def ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return self._http.get("/-/ready").status_code == 200
        return False

    def get(self, path: str, **query: str) -> Any:
        """What its API answers."""
        answer = self._http.get(f"/api/v1/{path}", params=query).json()
        assert answer["status"] == "success", f"{query}: {answer.get('error')}"
        return answer["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """An expression's value now."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def close(self) -> None:
        self._http.close()
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def prometheus(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    target = edge.url.removeprefix("http://")
    server = Prometheus(directory, target, KeysFile.key("prometheus"))
    try:
        eventually_sync(server.ready, within=40)
        yield server
    finally:
        server.close()


@pytest.fixture
async def watched(edge: Edge, redis_url: str, run_id: str) -> AsyncIterator[tuple[Redis, str]]:
    """A run with a viewer."""
    async with (
        Redis.from_url(redis_url, decode_responses=True) as client,
        watch(edge.events_url(run_id), headers=KeysFile.headers("viewer")),
    ):
        yield client, run_id


async def test_it_has_our_metrics_and_answers_what_the_dashboard_asks(
    prometheus: Prometheus, watched: tuple[Redis, str]
) -> None:
    client, run = watched

    async def something_is_delivered() -> bool:
        await append(client, run)
        delivered = prometheus.ask("rate(runcast_frames_delivered_total[10s]) > 0")
        return bool(delivered) and bool(prometheus.ask("runcast_live_subscribers == 1"))

    await eventually(something_is_delivered, within=40)
    empty = {one.panel for one in questions() if not prometheus.ask(one.asked)}
    assert empty == QUIET


async def test_it_evaluates_every_rule(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]]:
        groups = prometheus.get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = await eventually(evaluated, within=40)
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in alerts()}
    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()


def test_nothing_asks_for_a_metric_that_is_not_there(edge: Edge) -> None:
    text = httpx.get(
        f"{edge.url}/metrics", headers={"Authorization": f"Bearer {KeysFile.key('prometheus')}"}
    ).text
    there = set()
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        there |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    asked = [one.expression for one in questions()] + [alert["expr"] for alert in alerts()]
    named = {name for text in asked for name in re.findall(r"\b(?:runcast|process)_\w+", text)}
    assert named - there == set()
