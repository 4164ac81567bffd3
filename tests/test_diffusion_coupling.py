"""Optimal pairs of images and noise, against scipy's assignment and the sorted pairs of one dimension."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from gen_jax.diffusion.coupling import optimal
from gen_jax.fields import images
from gen_jax.models import FlowMatchingConfig
from gen_jax.networks.denoisers import Denoiser


def _cost(x, noise):
    return float(np.square(np.asarray(x) - np.asarray(noise)).sum())


@settings(max_examples=20, deadline=None)
@given(n=st.sampled_from([1, 2, 5, 16, 33]), d=st.sampled_from([1, 3, 20]), seed=st.integers(0, 10**6))
def test_pairs_are_those_of_least_cost(n, d, seed):
    x, noise = (jax.random.normal(key, (n, d, 1, 1)) for key in jax.random.split(jax.random.key(seed)))
    got = jax.jit(optimal)(x, noise)
    squares = np.square(np.asarray(x).reshape(n, 1, d) - np.asarray(noise).reshape(1, n, d)).sum(-1)
    best = squares[linear_sum_assignment(squares)].sum()
    np.testing.assert_allclose(_cost(x, got), best, rtol=1e-4, atol=1e-5)
    assert {row.tobytes() for row in np.asarray(got)} == {row.tobytes() for row in np.asarray(noise)}


def test_in_one_dimension_the_smallest_meets_the_smallest():
    x, noise = (jax.random.normal(key, (64, 1)) for key in jax.random.split(jax.random.key(0)))
    got = optimal(x, noise)
    np.testing.assert_array_equal(got[jnp.argsort(x[:, 0]), 0], jnp.sort(noise[:, 0]))


def test_targets_of_the_flow_vary_less():
    """What the velocity cannot know of eps - x_0 is the loss that is left; near the data it is what falls."""
    losses = {}
    x = jnp.repeat(jax.random.rademacher(jax.random.key(0), (128, 1, 1, 1), jnp.float32), 4, axis=1)
    for name in ("independent", "optimal"):
        model = FlowMatchingConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1), coupling=name).build(
            images((4, 4, 1))
        )
        noise = model.coupling(x, jax.random.normal(jax.random.key(1), x.shape))
        losses[name] = _cost(noise, x)
    assert losses["optimal"] < 0.8 * losses["independent"]


def test_labels_are_refused():
    with pytest.raises(ValueError, match="coupling='independent' with conditional=True"):
        FlowMatchingConfig(coupling="optimal", conditional=True).build(images((8, 8, 1), 3))
