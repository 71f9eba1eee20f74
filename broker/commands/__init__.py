"""What each `runcast` command does, one module a command; `broker.cli` has their flags."""
