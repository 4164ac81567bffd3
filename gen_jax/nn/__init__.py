"""Parts of networks, and the border to Flax; whole networks are in :mod:`gen_jax.networks`."""
