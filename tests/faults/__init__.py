"""Faults under load, and a verdict on what every viewer saw: `python -m tests.faults`.

========================= =====================================================================
history                   what happened: appends, causes, what viewers saw
stream_truth              pure: what was in a run's stream, and when it went
checker, counterexample   pure: the verdict, and a flaw as the least that shows it
producer, watcher         who appends, who watches
response                  sans-I/O: an HTTP response as messages
posts, stores, line       edges, Redis, and the lines between, to be broken
surgery                   what is done to streams on purpose
kinds/                    the faults
stage, round              a round: all of the above, and its outcome
report                    the table, the JSON, the page
soak, trend               does anything climb?
========================= =====================================================================
"""
