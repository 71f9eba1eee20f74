"""`python -m broker`, the same as `runcast`."""

from broker.cli import main

main()
