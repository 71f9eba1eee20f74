"""Profiles: other systems' routes, cursors and frames, so that their clients work unchanged.

A profile is a TOML file (``native.toml``, ``cortex.toml``, … here; one's own beside
``runcast.toml``) and, at most, an encoder.

``document`` is the file's form · ``profile`` is what an edge makes of it · ``encoders`` are the
dialects that a file can name · ``loading`` finds profiles and checks that they fit together.
"""
