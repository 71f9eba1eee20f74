"""Planted bugs: each must be caught by a quick part of the tests, or that part is not good enough.

========== ==================================================================
catalogue  the bugs, as exact replacements of text, and what is to catch each
planting   a copy of the repository with one bug in it
trial      runs tests on such a copy, and says which one failed
table      the outcome, for the terminal and for docs/mutations.md
========== ==================================================================
"""
