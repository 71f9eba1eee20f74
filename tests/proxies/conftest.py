"""Fixtures: each proxy, two edges behind it, and a certificate that viewers believe."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.proxies.certificates import certificate_in
from tests.proxies.programs import PROGRAMS, Certificate, Program
from tests.proxies.proxy import Proxy
from tests.support.edges import Edge
from tests.support.servers import available_kinds


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """The kind that every machine has: proxies don't care which Redis an edge reads."""
    return available_kinds()[0]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The proxies', of an authority of the tests' own."""
    return certificate_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=list(PROGRAMS))
def program(request: pytest.FixtureRequest) -> Program:
    """Each proxy that is installed."""
    program: Program = PROGRAMS[request.param]
    if program.found is None:
        pytest.skip(f"{program.name} is not installed ({program.installed_by})")
    return program


@pytest.fixture(scope="session")
def edges(redis_url: str) -> Iterator[tuple[Edge, Edge]]:
    """Two edges over one Redis, with heartbeats that no idle limit of a test is below."""
    both = (Edge(redis_url, heartbeat_seconds=0.5), Edge(redis_url, heartbeat_seconds=0.5))
    yield both
    for edge in both:
        edge.close()


@pytest.fixture(scope="session")
def shared_proxies(
    edges: tuple[Edge, Edge], certificate: Certificate
) -> Iterator[Callable[[Program], Proxy]]:
    """One of each proxy in front of these, started when it is first asked for."""
    started: dict[str, Proxy] = {}

    def shared(program: Program) -> Proxy:
        if program.name not in started:
            ports = (edges[0].port, edges[1].port)
            started[program.name] = Proxy(program, ports, certificate)
        return started[program.name]

    yield shared
    for proxy in started.values():
        proxy.close()


@pytest.fixture
def proxy(program: Program, shared_proxies: Callable[[Program], Proxy]) -> Proxy:
    """A proxy that all tests share, in front of `edges`."""
    return shared_proxies(program)


@pytest.fixture
def start_proxy(program: Program, certificate: Certificate) -> Iterator[Callable[..., Proxy]]:
    """Starts proxies of the test's own."""
    started: list[Proxy] = []

    def start(first: int, second: int, **settings: Any) -> Proxy:
        proxy = Proxy(program, (first, second), certificate, **settings)
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        proxy.close()
