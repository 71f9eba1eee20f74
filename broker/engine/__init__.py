"""Who gets what: runs, positions, subscribers. No HTTP and no Redis client in here.

``log`` what the engine reads from · ``continuity`` is there a hole · ``page`` one proven read ·
``window`` the newest frames · ``feed`` a watched run · ``subscriber`` one viewer's state machine ·
``replay`` shared, bounded page reads · ``hub`` owns feeds and tasks · ``delivery`` sinks, views and
batches · ``ending`` why a stream ends · ``backoff``, ``flight`` and ``cancelling`` how work is
repeated, shared and ended · ``stats`` what is counted · ``limits`` every bound.

Everything but ``page``, ``replay``, ``hub``, ``flight`` and ``cancelling`` is synchronous: inputs
in, writes to a sink out.
"""
