"""Whole networks, each a file of the name its paper gave it; their parts are in :mod:`gen_jax.nn`."""
