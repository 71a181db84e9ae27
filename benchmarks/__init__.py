"""Benchmarks: every budget as a ratio of two things measured in one run."""
