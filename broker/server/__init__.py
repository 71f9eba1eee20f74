"""Running an edge under uvicorn.

``protocol`` what we need of a connection that ASGI does not offer · ``detached`` a viewer on a
connection of the engine's own · ``run`` signals, drain, exit · ``listening`` the sockets.

Several processes: ``workers`` the supervisor · ``worker`` one of them · ``handover`` what they say
to each other · ``colleagues`` their metrics as one · ``snapshots`` how those are summed.
"""
