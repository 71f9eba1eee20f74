"""Everything that speaks to Redis.

From the URL to the wire: ``addresses`` what a URL says · ``opening`` the deployment it stands for ·
``deployment`` one server or several · ``cluster`` a Cluster · ``server`` one primary, and whether
it is still the same · ``link`` a connection that many share · ``connections`` what of redis-py is
used.

On top: ``streams`` the engine's `Log` over XREAD, XREVRANGE and XINFO · ``tail`` who has changed,
by three strategies, ``block_tail``, ``notify_tail`` and ``auto_tail``, one for each server
(``routed_tail``) · ``notifications`` a server's setup for the second · ``publisher`` appends ·
``inspection`` is this server fit for the job · ``embedded`` the Valkey that comes along.
"""
