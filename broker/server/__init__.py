"""Running an edge under uvicorn.

``protocol`` what we need of a connection that ASGI does not offer · ``run`` signals, drain, exit.
"""
