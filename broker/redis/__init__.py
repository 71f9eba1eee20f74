"""Everything that speaks to Redis.

``connections`` clients and their timeouts · ``embedded`` the Valkey that comes along ·
``streams`` the engine's `Log` over XREAD, XREVRANGE and XINFO · ``tail`` who has changed ·
``publisher`` appends · ``inspection`` is this server fit for the job.
"""
