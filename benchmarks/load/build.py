"""Compiles the program of the viewers when its source has no binary yet."""

import asyncio
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["CantBuild", "viewers_program"]

_SOURCE: Final = Path(__file__).with_name("viewers.c")
_BINARIES: Final = Path(__file__).parents[2] / ".benchmarks"
_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
_COMPILE_SECONDS: Final = 60


class CantBuild(Exception):
    """The program of the viewers can't be compiled here; the text says why, in one line."""


async def viewers_program() -> Path:
    """The compiled program. It is named after its source, so a change makes another.

    Raises:
        CantBuild: there is no C compiler, or it refuses the source.
    """
    identity = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:12]
    program = _BINARIES / f"viewers-{identity}"
    if not program.exists():
        await _compile(program)
    return program


async def _compile(program: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise CantBuild("the benchmarks' viewers are a C program, and there is no cc: install gcc")
    _BINARIES.mkdir(exist_ok=True)
    # Two that build at once each move a whole program into place.
    with tempfile.TemporaryDirectory(dir=_BINARIES) as directory:
        fresh = Path(directory) / program.name
        process = await asyncio.create_subprocess_exec(
            *(compiler, *_FLAGS, "-o", str(fresh), str(_SOURCE)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_COMPILE_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            raise CantBuild(f"cc takes over {_COMPILE_SECONDS} s for {_SOURCE.name}") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            first_error = next(
                (line for line in output.decode(errors="replace").splitlines() if "error" in line),
                f"exit code {process.returncode}",
            )
            raise CantBuild(f"cc refuses {_SOURCE.name}: {first_error}")
        os.replace(fresh, program)
