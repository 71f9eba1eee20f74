"""One's own run, and another's that takes its place: ids may be used again."""

from broker.edge.auth.guard import RETRY_SECONDS
from broker.edge.auth.permit import Permit
from broker.edge.auth.rights import Action
from broker.engine.hub import Opening
from broker.wire.problem import Unavailable

__all__ = ["require_same_run"]


async def require_same_run(permit: Permit, opening: Opening) -> None:
    """Returns if the permit to watch is one for the run that was opened, or read, after it was
    given. What takes its place from now on ends the stream (`Term.one_run`).

    Raises:
        Problem: it is not, or nobody knows.
    """
    permit.check()
    if not permit.owned:
        return
    known = (opening.feed.epoch, opening.missing)
    await permit.also(Action.WATCH, permit.run_id)
    if (opening.feed.epoch, opening.missing) != known:
        raise Unavailable("The run has just begun anew.", RETRY_SECONDS)
