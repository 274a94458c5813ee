"""Benchmarks: each module runs two ways or more side by side and prints their ratio."""
