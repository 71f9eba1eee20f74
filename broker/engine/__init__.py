"""Who gets what: runs, positions, subscribers. No HTTP and no Redis client in here.

``log`` what the engine reads from · ``continuity`` is there a hole · ``page`` one proven read ·
``window`` the newest frames · ``feed`` a watched run · ``subscriber`` one viewer's state machine ·
``replay`` shared, bounded page reads · ``hub`` owns feeds and tasks · ``ending`` why a stream
ends · ``stats`` what is counted · ``limits`` every bound.

Everything but ``page``, ``replay`` and ``hub`` is synchronous: inputs in, writes to a sink out.
"""
