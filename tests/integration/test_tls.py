"""`rediss://`: the same over TLS, with a certificate that is checked."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio
import trustme

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.servers import free_port
from tests.support.viewer import watch
from tests.support.waiting import eventually_sync


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """A server that speaks TLS only."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server with TLS here; the embedded Valkey is built without")
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    server.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    port = free_port()
    process = subprocess.Popen(
        [
            binary,
            *("--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1"),
            *("--tls-cert-file", str(tmp_path / "cert.pem")),
            *("--tls-key-file", str(tmp_path / "key.pem")),
            *("--tls-ca-cert-file", str(tmp_path / "ca.pem")),
            *("--tls-auth-clients", "no", "--save", "", "--dir", str(tmp_path)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    try:
        eventually_sync(answers)
        yield url
    finally:
        process.kill()
        process.wait()


async def test_over_tls(tls_url: str, run_id: str, tmp_path: Path) -> None:
    edge = Edge(tls_url)
    try:
        async with (
            redis.asyncio.Redis.from_url(tls_url, decode_responses=True) as worker,
            watch(edge.events_url(run_id)) as viewer,
        ):
            await viewer.until_caught_up()
            ids = [await append(worker, run_id), await append(worker, run_id, "{}", "done")]
            await viewer.until_ended()
            assert viewer.ids == ids
    finally:
        edge.close()


async def test_an_unknown_certificate_is_refused(
    tls_url: str, start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(tls_url.partition("?")[0])
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_ended()
    assert viewer.events == []
    assert not viewer.caught_up
