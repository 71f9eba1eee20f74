"""The HTTP side: Starlette endpoints over the engine.

``events`` a run's stream and its JSON page · ``connection`` what a server may offer besides
ASGI · ``asgi_sink`` the portable way to a client ·
``publishing`` new runs, commands and events over HTTP · ``lost_runs`` ends runs whose worker is
gone · ``by_method`` one path, several endpoints ·
``operations`` health and metrics · ``openapi`` the document of it all ·
``problems`` errors as problem+json.
"""
