"""The clients that three systems' own documentation shows, adapted in host and key only.

``documented`` says what each system's streams are · ``worker`` appends to runs, as a process of its
own · the others are the clients: ``curl``, ``requests`` (Python), ``node`` (npm's eventsource) and
``chromium`` (a browser's EventSource), which all tell what they saw in the same way (``client``).
"""
