"""What happens to the streams themselves, while they are written and watched."""

import asyncio
from typing import Final

from tests.faults.kinds.fault import GAPS, Fault
from tests.faults.stage import Stage

__all__ = ["DeleteEntries", "DeleteRun", "ExpireRun", "TrimLength", "TrimMinimum"]

_TIMES: Final = 10


class TrimLength(Fault):
    """XTRIM MAXLEN."""

    name = "trim-length"
    title = "XTRIM MAXLEN to a few events, again and again"
    shows = GAPS

    async def strike(self, stage: Stage) -> None:
        for _ in range(_TIMES):
            for run in stage.runs:
                await stage.surgery.trim_to_length(run, stage.source.choice((0, 1, 3, 20)))
            await asyncio.sleep(stage.size.seconds / _TIMES)


class TrimMinimum(Fault):
    """XTRIM MINID."""

    name = "trim-minimum"
    title = "XTRIM MINID close to the newest event, again and again"

    async def strike(self, stage: Stage) -> None:
        for _ in range(_TIMES):
            for run in stage.runs:
                await stage.surgery.trim_below(run, stage.source.choice((1, 5, 30)))
            await asyncio.sleep(stage.size.seconds / _TIMES)


class DeleteEntries(Fault):
    """XDEL."""

    name = "delete-entries"
    title = "XDEL of entries anywhere, the newest among them, again and again"

    async def strike(self, stage: Stage) -> None:
        for _ in range(_TIMES):
            for run in stage.runs:
                shares = (stage.source.random(), stage.source.random(), 0.999_999)
                await stage.surgery.delete_entries(run, shares)
            await asyncio.sleep(stage.size.seconds / _TIMES)


class DeleteRun(Fault):
    """DEL."""

    name = "delete-run"
    title = "DEL of a run while it is written, so that it begins again"
    shows = GAPS

    async def strike(self, stage: Stage) -> None:
        for run in stage.runs:
            await stage.surgery.delete_run(run)
        await asyncio.sleep(stage.size.seconds)


class ExpireRun(Fault):
    """PEXPIRE."""

    name = "expire-run"
    title = "EXPIRE of a run while it is written, so that it begins again"
    shows = GAPS

    async def strike(self, stage: Stage) -> None:
        for run in stage.runs:
            await stage.surgery.expire_run(run)
        await asyncio.sleep(stage.size.seconds)
