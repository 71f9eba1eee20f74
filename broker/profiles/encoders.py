"""The encoders that a profile's file can name."""

from importlib import import_module
from typing import Final

from broker.profiles.profile import MakeDialect, Profile
from broker.wire.agui import Agui
from broker.wire.dialect import Dialect, Native
from broker.wire.ids import RunId
from broker.wire.request import EventsRequest
from broker.wire.run_agent import RunAgent
from broker.wire.shaped import Shaped

__all__ = ["ENCODERS", "encoder"]


def _native(profile: Profile, run_id: RunId, request: EventsRequest) -> Dialect:
    return Native(request.control, request.heartbeat_as_event)


def _shaped(profile: Profile, run_id: RunId, request: EventsRequest) -> Dialect:
    return Shaped(profile.words, run_id)


def _ag_ui(profile: Profile, run_id: RunId, request: EventsRequest) -> Dialect:
    return Agui(run_id)


def _ag_ui_with_run_id(profile: Profile, run_id: RunId, request: EventsRequest) -> Dialect:
    return Agui(run_id, "run_id")


def _run_agent(profile: Profile, run_id: RunId, request: EventsRequest) -> Dialect:
    return RunAgent()


ENCODERS: Final[dict[str, MakeDialect]] = {
    "ag-ui": _ag_ui,
    "ag-ui-with-run-id": _ag_ui_with_run_id,
    "native": _native,
    "run-agent": _run_agent,
    "shaped": _shaped,
}


def encoder(name: str) -> MakeDialect:
    """The encoder of this name: one of ours, or `module:name` of somebody else's.

    Raises:
        ValueError: there is none; the message says why.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ValueError(f"encoder {name!r}: there are {', '.join(sorted(ENCODERS))}")
    try:
        found: MakeDialect = getattr(import_module(module), attribute)
    except Exception as error:
        # Somebody else's module: whatever is wrong with it, this profile can't be used.
        raise ValueError(f"encoder {name!r}: {error}") from error
    if not callable(found):
        raise ValueError(f"encoder {name!r}: it can't be called")
    return found
