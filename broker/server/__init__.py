"""Running an edge under uvicorn.

``protocol`` what we need of a connection that ASGI does not offer · ``detached`` a viewer on a
connection of the engine's own · ``run`` signals, drain, exit.
"""
