"""Edges behind the proxies of `deploy/proxies`: the real programs, with these very files."""
