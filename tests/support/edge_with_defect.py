"""An edge that serves as `runcast serve` does, and one page more, which fails: a defect of ours."""

import structlog
from starlette.requests import Request
from starlette.responses import Response

from broker.commands.serve import run_edge
from broker.logging import configure_logging
from broker.settings import load_settings

__all__ = ["DEFECT_PATH"]

DEFECT_PATH = "/defect"


async def _defect(request: Request) -> Response:
    headers, query = dict(request.headers), str(request.url.query)
    raise ZeroDivisionError(f"a defect with {len(headers)} headers and {len(query)} characters")


def _main() -> None:
    settings = load_settings({})
    configure_logging(settings.log_level, settings.log_format)
    assert settings.redis_url is not None
    logger = structlog.get_logger("runcast.serve")
    run_edge(
        settings,
        settings.redis_url.get_secret_value(),
        pages={DEFECT_PATH: _defect},
        on_listening=lambda address: logger.info("listening", url=address),
    )


if __name__ == "__main__":
    _main()
