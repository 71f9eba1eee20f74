"""Everything that a stranger or a producer can send, made up by machines.

``effort`` how many examples · ``target`` an edge with a viewer on it who must not notice ·
``exchange`` raw bytes out, answers read by h11 · ``hostile`` what requests are made of ·
``entries`` what producers write, and what is to come of it · ``parsers`` SSE parsers by others.

A few seconds' worth of examples, always the same ones, run by default. ``RUNCAST_TEST_FUZZ=long``
runs twenty times as many, new ones each time, and keeps those that fail for the next run.
"""
