"""Where administration is served, for the routes and for the OpenAPI document."""

from typing import Final

__all__ = [
    "DRAIN_PATH",
    "OVERVIEW_PATH",
    "RUNS_PATH",
    "SUBSCRIBERS_PATH",
    "SUBSCRIBER_PATH",
    "USUAL_ROWS",
]

OVERVIEW_PATH: Final = "/admin/overview"
RUNS_PATH: Final = "/admin/runs"
SUBSCRIBERS_PATH: Final = "/admin/subscribers"
SUBSCRIBER_PATH: Final = "/admin/subscribers/{id}"
DRAIN_PATH: Final = "/admin/drain"
USUAL_ROWS: Final = 100
"""Of a list, where no limit is given."""
