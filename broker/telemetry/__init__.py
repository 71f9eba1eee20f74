"""OpenTelemetry traces: from whoever appends an event, over the edge that reads it, to its viewers.

``traceparent`` reads W3C Trace Context, ``vocabulary`` has the names that are exported ·
``traces`` is an edge's side, ``run_spans`` and ``publish_spans`` are the library's · ``installed``
says whether the packages are there, which are an extra: only ``traces`` and ``publish_spans``
import them.
"""
