"""Experiments: one file, one result."""
