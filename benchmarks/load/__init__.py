"""The load of the benchmarks: viewers by the thousand, on cores of their own.

``viewers`` drives them from Python · ``viewers.c`` is the program that holds their connections and
counts what they see · ``build`` compiles it on first use.
"""
