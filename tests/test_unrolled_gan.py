"""Unrolling against plain games, explicit steps, finite differences and a game that is solved by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax.fields import REAL, Field
from gen_jax.losses.adversarial import wasserstein
from gen_jax.models.critics import Critic
from gen_jax.models.gan import GAN, plain_goal
from gen_jax.models.unrolled_gan import REFERENCE, UnrolledGANConfig, ahead, unrolled
from gen_jax.nn.functional import parameter_count
from gen_jax.protocol import Network
from tests.tiers import mostly_slow

POINTS = {"point": Field((2,), REAL)}
NOW = {"step": 0, "ema": None}
RATE = 0.4


@functools.cache
def made(dtype=np.float32):
    model = UnrolledGANConfig(latent=3, hidden=(6,), unroll=3, rate=RATE).build(POINTS)
    params, buffers = jax.eval_shape(model.init, jax.random.key(0), {})
    draw = np.random.default_rng(0).normal
    params = jax.tree.map(lambda a: jnp.asarray(draw(size=a.shape), dtype), params)
    return model, params, buffers, {"point": draw(size=(8, 2)).astype(dtype)}


def value_and_gradient(model, params, buffers, batch):
    def loss(own):
        return model.turns[1].loss({**params, "generator": own}, buffers, batch, jax.random.key(1), **NOW)[0]

    return jax.jit(jax.value_and_grad(loss))(params["generator"])


def test_no_steps_are_the_plain_gan():
    model, params, buffers, batch = made()
    none, plain_game = (dataclasses.replace(model, goal=goal) for goal in (unrolled(0, RATE), plain_goal))
    plain, found = (value_and_gradient(m, params, buffers, batch) for m in (plain_game, none))
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    assert [turn.player for turn in none.turns] == [turn.player for turn in plain_game.turns]
    assert [turn.loss.__name__ for turn in none.turns] == ["critic_loss", "generator_loss"]


@pytest.mark.parametrize("steps", mostly_slow([1, 4], 4))
def test_steps_ahead_are_the_explicit_ones_of_an_optimizer(steps):
    model, params, buffers, batch = made()
    model, key = dataclasses.replace(model, goal=unrolled(steps, RATE)), jax.random.key(1)
    optimizer, critic = optax.sgd(RATE), params["critic"]
    slope = jax.jit(jax.grad(lambda own: model.turns[0].loss({**params, "critic": own}, buffers, batch, key, **NOW)[0]))
    state = optimizer.init(critic)
    for _ in range(steps):
        updates, state = optimizer.update(slope(critic), state)
        critic = optax.apply_updates(critic, updates)
    foreseen = jax.jit(functools.partial(ahead, model, steps=steps, rate=RATE))(params, buffers, batch, key)["critic"]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5), foreseen, critic)
    plain = dataclasses.replace(model, goal=plain_goal)
    expected, at_the_end = value_and_gradient(plain, {**params, "critic": critic}, buffers, batch)
    found, gradient = value_and_gradient(model, params, buffers, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), gradient, at_the_end)
    assert all(a > 1e-3 for a in jax.tree.leaves(apart))  # the critic's answer is a part of it


def test_the_gradient_through_the_steps_equals_finite_differences():
    with jax.enable_x64(True):
        model, params, buffers, batch = made(np.float64)
        draw = np.random.default_rng(1).normal
        step = jax.tree.map(lambda a: 1e-5 * draw(size=a.shape), params["generator"])

        @jax.jit
        def loss(sign):
            own = jax.tree.map(lambda a, d: a + sign * d, params["generator"], step)
            return model.turns[1].loss({**params, "generator": own}, buffers, batch, jax.random.key(1), **NOW)[0]

        difference = (loss(1.0) - loss(-1.0)) / 2
        np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.0), difference, rtol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_two_numbers_that_play(steps):
    """Samples at g, data at x, a critic d times its input.

    After k steps the critic is d - k rate (g - x), and the generator's loss -g (d - k rate (g - x)), whose slope,
    -d + k rate (2 g - x), no longer lets the two go round in circles.
    """
    g, d, x, rate = 0.7, -0.3, 2.0, 0.05
    generator = Network(lambda key: ({}, {}), lambda p, b, z, label=None, **_: (p + 0 * z, b))
    critic = Network(lambda key: ({}, {}), lambda p, b, x, label=None, **_: (p * x[:, 0], b))
    critics = (Critic("critic", critic, wasserstein),)
    game = GAN((1,), 0, generator, critics, 1, makes="point", goal=unrolled(steps, rate))
    params, buffers = {"generator": jnp.array(g), "critic": jnp.array(d)}, {"generator": {}, "critic": {}}
    found = value_and_gradient(game, params, buffers, {"point": np.full((4, 1), x, "f4")})
    expected = -g * (d - steps * rate * (g - x)), -d + steps * rate * (2 * g - x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_networks_of_the_reference():
    model = REFERENCE.build(POINTS)
    assert parameter_count(model.generator.init) == 49_666
    assert parameter_count(model.critics[0].network.init) == 17_025
    small = UnrolledGANConfig(hidden=(6, 6)).build(POINTS)
    kernel = np.asarray(jax.jit(small.generator.init)(jax.random.key(0))[0]["body"]["layers"]["1"]["kernel"])
    np.testing.assert_allclose(kernel @ kernel.T, 1.4**2 * np.eye(6), atol=1e-5)
