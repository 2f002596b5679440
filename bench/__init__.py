"""Benchmarks against peers on one Postgres; a program, not part of the package."""
