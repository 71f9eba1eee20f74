"""The HTTP side: Starlette endpoints over the engine.

``events`` a run's stream and its JSON page · ``connection`` what a server may offer besides
ASGI · ``asgi_sink`` the portable way to a client ·
``operations`` health and metrics · ``openapi`` the document of it all ·
``problems`` errors as problem+json.
"""
