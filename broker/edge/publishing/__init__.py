"""Writing over HTTP: new runs, commands to their workers, events.

================ ===========================================================
create           ``POST /v1/runs``; and what profiles create runs with
commands         ``POST /v1/runs/{run_id}/commands``
publish          ``POST /v1/runs/{run_id}/events``
intake           what the three have in common: order of checks, bounds, answers
body             a request's body within bounds
documents        pure: the JSON that is taken
lines, batches   pure: from a body's pieces to what is appended in one step
origin           pure: who an event comes from, so that it is appended once
anonymous        producers for events that come from nobody in particular
rates            pure: token buckets
limits, stats    the bounds; what was counted
================ ===========================================================
"""
