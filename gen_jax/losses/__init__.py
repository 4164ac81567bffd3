"""Losses, from plain arrays."""
