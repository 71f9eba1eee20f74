"""Everything that speaks to Redis.

``connections`` clients and their timeouts · ``link`` the connections that events come in by ·
``embedded`` the Valkey that comes along ·
``streams`` the engine's `Log` over XREAD, XREVRANGE and XINFO · ``tail`` who has changed, by
three strategies: ``block_tail``, ``notify_tail``, ``auto_tail`` · ``notifications`` a server's
setup for the second ·
``publisher`` appends · ``inspection`` is this server fit for the job.
"""
