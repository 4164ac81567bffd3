"""WGAN: what a critic of small weights says of the distance between two laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import RMSProp, fields
from gen_jax.losses.adversarial import wasserstein
from gen_jax.models.wgan import REFERENCE, WGANConfig
from gen_jax.networks.adversaries import Adversaries
from gen_jax.nn.functional import parameter_count
from gen_jax.protocol import due


def estimate(real, fake, *, limit, turns=400):
    """Of a linear critic after so many turns under the cut."""
    optimizer = RMSProp(1e-2, clip_weights=limit).build(turns)

    def loss(w):
        return wasserstein.critic(real * w, fake * w)

    @jax.jit
    def train():
        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(jax.grad(loss)(w), state, w)
            return (w + updates, state), None

        w = jnp.zeros(())
        return jax.lax.scan(step, (w, optimizer.init(w)), length=turns)[0][0]

    w = train()
    assert abs(w) <= limit + 1e-7
    return -loss(w)


@pytest.mark.parametrize("limit", [0.01, 0.3])
@pytest.mark.parametrize("place", [-2.0, 0.5, 3.0])
def test_point_masses_are_as_far_apart_as_they_are_at_the_critics_slope(limit, place):
    found = estimate(jnp.zeros(4), jnp.full(4, place), limit=limit)
    np.testing.assert_allclose(found, limit * abs(place), rtol=1e-5)


@pytest.mark.parametrize("mean", [1.0, 2.0, 4.0])
def test_shifted_laws_are_as_far_apart_as_their_shift(mean):
    """W1 of N(0, 1) and N(m, 1) is m, and a line attains it; scipy has the same for these points."""
    points = stats.norm.ppf((np.arange(500) + 0.5) / 500)
    expected = stats.wasserstein_distance(points, points + mean)
    found = estimate(jnp.asarray(points, jnp.float32), jnp.asarray(points + mean, jnp.float32), limit=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found, mean, rtol=1e-4)


def test_the_critic_takes_five_turns_for_one_of_the_generator():
    model = WGANConfig(Adversaries("dcgan", latent=4, channels=4)).build(fields.images((8, 8, 1)))
    players = [[model.turns[index].player for index in due(model.turns, step)] for step in range(10)]
    assert players == 2 * [["critic", "generator"], *4 * [["critic"]]]


def test_the_reference_has_the_networks_of_the_dcgan():
    model = REFERENCE.build(fields.images((64, 64, 3)))
    assert parameter_count(model.generator.init) == 3_576_704
    assert parameter_count(model.critics[0].network.init) == 2_765_568
