"""The console: a page that shows operators what an edge does, and lets them act on it.

``page`` serves it. The page itself is `index.html`; what it shows it asks of `/admin`.
"""
