"""What the log has, and what it never has. Each in a process of its own: logging is global."""

import subprocess
import sys
from typing import Final

import pytest

_SECRET: Final = "s3cret-0123456789"
_SAYS: Final = """
import asyncio, logging, sys
import httpx, structlog
from broker.logging import configure_logging

configure_logging("debug", sys.argv[1])
logger = structlog.get_logger("runcast.test")

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    await writer.drain()
    writer.close()

async def ask(secret):
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(headers={"X-API-Key": secret}) as client:
            await client.get(f"http://127.0.0.1:{port}/?ticket={secret}")

def fail(secret):
    credentials = {"token": secret}
    raise ValueError(f"of {len(credentials)}")

logger.debug("our own debug line")
asyncio.run(ask(sys.stdin.readline().strip()))
for say in (logger.exception, logging.getLogger("uvicorn.error").exception):
    try:
        fail("s3cret-" + "0123456789")
    except ValueError:
        say("it failed")
"""


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest) -> str:
    """What is logged in that format, at the level debug."""
    outcome = subprocess.run(
        [sys.executable, "-c", _SAYS, request.param],
        input=f"{_SECRET}\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert outcome.stdout == ""
    return outcome.stderr


def test_ours_is_there(log: str) -> None:
    assert "our own debug line" in log


def test_traces_have_no_values_of_variables(log: str) -> None:
    assert log.count("it failed") == 2
    assert log.count("ValueError: of 1") == 2
    assert "in fail" in log
    assert _SECRET not in log


def test_the_clients_that_we_ask_with_say_nothing(log: str) -> None:
    # httpx logs addresses with their query, and httpcore the headers.
    assert "HTTP Request" not in log
    assert "ticket" not in log
