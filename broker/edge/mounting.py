"""The routes of the profiles that are served."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from starlette.routing import Route

from broker.edge.abandoned import AbandonedRuns
from broker.edge.asking import AskEndpoint
from broker.edge.events import EventsEndpoint, EventsParts, EventsPolicy
from broker.edge.profile_create import ProfileCreateEndpoint
from broker.edge.publishing.routes import Publishing
from broker.profiles.document import RouteSection
from broker.profiles.profile import Profile

__all__ = ["Making", "profile_routes"]

logger = structlog.get_logger("runcast.edge")


@dataclass(frozen=True, slots=True)
class Making:
    """What routes that make runs need."""

    publishing: Publishing
    abandoned: AbandonedRuns


def profile_routes(
    profiles: Sequence[Profile],
    parts: EventsParts,
    policy: EventsPolicy,
    making: Making | None,
) -> list[Route]:
    """All of them, in the profiles' order.

    Args:
        profiles: those that are served.
        parts: what streams are made of.
        policy: what operators may choose.
        making: what runs are made with; `None`: they are not made here.
    """
    routes = []
    for profile in profiles:
        for route in profile.routes:
            if route.serves not in ("create", "ask"):
                endpoint = EventsEndpoint(parts, policy, profile, route)
                routes.append(Route(route.path, endpoint, methods=list(route.methods)))
            elif making is not None:
                routes.append(_making(profile, route, parts, making))
            else:
                logger.warning(
                    "runs are not made here: set publish", profile=profile.name, path=route.path
                )
    return routes


def _making(profile: Profile, route: RouteSection, parts: EventsParts, making: Making) -> Route:
    publishing = making.publishing
    dense = profile.cursors.dense
    creator = publishing.creator(profile.name, profile.reading, dense=dense)
    if route.serves == "ask":
        endpoint: AskEndpoint | ProfileCreateEndpoint = AskEndpoint(
            parts,
            publishing.intake,
            creator,
            making.abandoned,
            publishing.commands(profile.reading),
            profile,
            route,
        )
    else:
        places = [one.path for one in profile.routes if "{run_id}" in one.path]
        endpoint = ProfileCreateEndpoint(
            creator, publishing.intake, parts.guard, route, places[0] if places else None
        )
    return Route(route.path, endpoint, methods=["POST"])
