"""Benchmarks against other projects; run by `make bench-peers`, not by `make bench`."""
