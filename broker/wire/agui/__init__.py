"""AG-UI (Agent User Interaction protocol, 1.0): a run as its own clients accept it.

``vocabulary`` the event types, and what each opens, continues and closes · ``documents`` from a
frame to AG-UI's JSON and to the wire · ``progress`` how far a client has been told, and what it
would reject next · ``patch`` JSON Patch · ``state`` what a viewer who joins has to be told ·
``dialect`` the dialects.

A client of AG-UI is a state machine that ends with an error on the first event out of place. It
begins anew with each connection, and so a viewer who joins in the middle of a run, or behind a
hole, must be sent what makes the rest valid.
"""

from broker.wire.agui.dialect import Agui, AguiRepair
from broker.wire.agui.state import AguiState

__all__ = ["Agui", "AguiRepair", "AguiState"]
