"""Benchmarks that take an hour or more; `make bench` leaves them out."""
