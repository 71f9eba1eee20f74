"""The demo: a made-up agent, and the page that shows it at work.

``stories`` what the agent does · ``script`` a story as timed events · ``agent`` publishes them ·
``page`` the page and what it needs to know. The page itself is `index.html`.
"""
