"""An encoder of one's own: what the file says, and `[DONE]` behind the last event."""

from collections.abc import Sequence

from broker.profiles.profile import Profile
from broker.wire.frame import Frame
from broker.wire.ids import RunId
from broker.wire.request import EventsRequest
from broker.wire.shaped import Shaped


class Completions(Shaped):
    """A run as a stream of completions. Compared by its run and its words, like any `Shaped`."""

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """The events, and the line after the last."""
        wires = [*super().encode(frames)]
        if frames and frames[-1].final:
            wires.append(b"data: [DONE]\n\n")
        return wires


def make(profile: Profile, run_id: RunId, request: EventsRequest) -> Completions:
    """What a profile's file names."""
    return Completions(profile.words, run_id)
