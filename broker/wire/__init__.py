"""What goes over the wire, and nothing else: pure functions and values, no I/O.

``ids`` run and stream ids · ``event`` from a stream entry to an event, terminal rules ·
``frame`` an event's bytes in SSE · ``gap`` what could not be served · ``request`` what a
viewer asks for · ``problem`` what they are told when it can't be done.

Other systems' forms: ``dialect`` what all of them have in common · ``shape`` and ``shaped`` those
that profiles describe · ``id_schemes`` other cursors · ``agui/`` and ``run_agent`` two that think ·
``folding`` a replay without every token · ``status`` how a run stands · ``content_coding`` bodies
that viewers share, compressed.
"""
