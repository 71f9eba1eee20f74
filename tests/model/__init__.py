"""The engine against a list: a Hypothesis model of runs, their streams and their viewers.

========== ==================================================================
world      what a run's stream is and ever was: lists
account    what one viewer may be told, and what must not be left out
client     a viewer's end of the line: takes bytes, comes back with its cursor
edge       an edge's engine, in this process, over a real server
machine    the rules: what producers, operators, networks and viewers do
========== ==================================================================
"""
