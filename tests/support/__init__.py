"""What the tests stand on: real Redis servers, real edges, and a strict viewer.

``servers`` a Redis of each kind that this machine can run · ``deployments`` Sentinel, Cluster and
TLS, of real processes · ``edges`` a `runcast serve` process ·
``sse`` a sans-I/O decoder of event streams · ``viewer`` an HTTP client that keeps what it saw ·
``waiting`` waits for conditions, never for time.
"""
