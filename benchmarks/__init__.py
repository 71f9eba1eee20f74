"""Runcast beside its peers: the same load, the same machine, the same run.

``systems`` what is measured, each with what installs and starts it · ``load`` the viewers (a C
program, so that the load is not what is measured) · ``scenarios`` one question each ·
``processes`` CPU and memory, as the operating system counts them · ``report`` results as JSON,
tables and plots · ``results`` the committed ones.
"""
