"""Where and with what was measured, as far as it matters to the figures."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import Cores
from benchmarks.redis_server import redis_version

__all__ = ["machine", "versions"]

_PACKAGES: Final = ("uvicorn", "uvloop", "httptools", "starlette", "redis", "hiredis")
"""What Runcast and the hand-written endpoint stand on."""


def machine(cores: Cores) -> dict[str, Any]:
    """Processor, memory, kernel, and how the cores were shared out."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_of_server": len(cores.server),
        "cores_of_others": len(cores.others),
        "memory_gb": round(_memory_bytes() / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Of what all systems have in common."""
    return {
        "python": platform.python_version(),
        "redis server": redis_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
