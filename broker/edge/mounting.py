"""The routes of the profiles that are served."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from broker.edge.abandoned import AbandonedRuns
from broker.edge.asking import AskEndpoint
from broker.edge.auth.gate import Asks, EdgeRoute, Endpoint, guarded, no_run
from broker.edge.auth.guard import Guard
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.rights import Action
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
    guard: Guard,
) -> list[EdgeRoute]:
    """All of them, in the profiles' order.

    Args:
        profiles: those that are served.
        parts: what streams are made of.
        policy: what operators may choose.
        making: what runs are made with; `None`: they are not made here.
        guard: who may do what.
    """
    routes = []
    for profile in profiles:
        for route in profile.routes:
            if route.serves not in ("create", "ask"):
                endpoint = EventsEndpoint(parts, policy, profile, route)
                decision = _decision(Action.WATCH, profile, route)
                routes.append(
                    guarded(guard, route.path, route.methods, endpoint, decision, endpoint.run_of)
                )
            elif making is not None:
                maker = _maker(profile, route, parts, making)
                decision = _decision(Action.COMMAND, profile, route)
                routes.append(guarded(guard, route.path, ["POST"], maker, decision, no_run))
            else:
                logger.warning(
                    "runs are not made here: set publish", profile=profile.name, path=route.path
                )
    return routes


def _decision(action: Action, profile: Profile, route: RouteSection) -> Asks:
    kinds = tuple(map(CredentialKind, route.credentials))
    return Asks(action, kinds, profile.name, route.owner_only)


def _maker(profile: Profile, route: RouteSection, parts: EventsParts, making: Making) -> Endpoint:
    publishing = making.publishing
    dense = profile.cursors.dense
    creator = publishing.creator(profile.name, profile.reading, dense=dense)
    if route.serves == "ask":
        return AskEndpoint(
            parts,
            publishing.intake,
            creator,
            making.abandoned,
            publishing.commands(profile.reading),
            profile,
        )
    places = [one.path for one in profile.routes if "{run_id}" in one.path]
    return ProfileCreateEndpoint(creator, publishing.intake, places[0] if places else None)
