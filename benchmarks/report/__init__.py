"""Results as files, and the tables and plots that are made from the files alone.

``results`` what a file holds · ``machine`` where it was measured · ``tables`` Markdown · ``plots``
SVG · ``publishing`` all of them, anew.
"""
