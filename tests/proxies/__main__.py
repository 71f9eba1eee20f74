"""Measures what each proxy adds, as the table of docs/proxies.md has it: python -m tests.proxies"""

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final
from uuid import uuid4

import httpx
from redis.asyncio import Redis

from tests.proxies.certificates import certificate_in
from tests.proxies.measuring import Figures, measure
from tests.proxies.programs import PROGRAMS, Program
from tests.proxies.proxy import Proxy
from tests.proxies.watching import client_of
from tests.support.edges import Edge
from tests.support.servers import available_kinds, redis_of_kind

_ROUNDS: Final = 10
_EVENTS: Final = 30
"""In each round."""


async def _measure(client: httpx.AsyncClient, url: str, redis_url: str) -> list[Figures]:
    async with client, Redis.from_url(redis_url, decode_responses=True) as worker:
        # The first request makes the connection, and is no part of the figures.
        (await client.get(f"{url}/healthz")).raise_for_status()
        rounds = []
        for _ in range(_ROUNDS):
            run_id = f"t-{uuid4().hex}"
            events_url = f"{url}/v1/runs/{run_id}/events"
            rounds.append(await measure(client, events_url, worker, run_id, events=_EVENTS))
        return rounds


def _cells(rounds: Sequence[Figures]) -> str:
    first = median(each.first_byte for each in rounds)
    delays = sorted(delay for each in rounds for delay in each.delays)
    figures = (first, median(delays), delays[int(0.95 * len(delays))])
    return " | ".join(f"{seconds * 1000:.1f}" for seconds in figures)


def _version(program: Program) -> str:
    assert program.found is not None
    said = subprocess.run([program.found, *program.version], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return program.name if found is None else f"{program.name} {found[0]}"


def _main() -> None:
    with redis_of_kind(available_kinds()[0]) as redis_url, tempfile.TemporaryDirectory() as scratch:
        certificate = certificate_in(Path(scratch))
        edges = Edge(redis_url), Edge(redis_url)
        try:
            direct = asyncio.run(_measure(httpx.AsyncClient(), edges[0].url, redis_url))
            print(f"| no proxy | {_cells(direct)} | | | |")
            for program in PROGRAMS.values():
                if program.found is None:
                    print(f"| {program.name}: not installed ({program.installed_by}) |")
                    continue
                proxy = Proxy(program, (edges[0].port, edges[1].port), certificate)
                try:
                    both = [
                        asyncio.run(_measure(client_of(proxy, http2=http2), proxy.url, redis_url))
                        for http2 in (False, True)
                    ]
                finally:
                    proxy.close()
                print(f"| {_version(program)} | {' | '.join(map(_cells, both))} |")
        finally:
            for edge in edges:
                edge.close()


if __name__ == "__main__":
    _main()
