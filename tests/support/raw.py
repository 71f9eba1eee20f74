"""A bare connection to an edge, for what no HTTP client would do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.support.edges import Edge

__all__ = ["connected"]


@contextlib.asynccontextmanager
async def connected(
    edge: Edge, source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connects from an address of this machine's, and cuts the connection at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
