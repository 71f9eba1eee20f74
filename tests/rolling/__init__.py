"""A rolling restart: two edges behind a load balancer, one after the other, while a crowd watches.

`python -m tests.rolling` does it with HAProxy; `tests/integration/test_drain.py` has a small form.
"""
