"""VEEGAN: its three losses by hand, its critic's optimum in closed form, and what moves whom."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import REAL, Field, images
from gen_jax.models.veegan import REFERENCE, VEEGAN, VEEGANConfig
from gen_jax.protocol import Network


@functools.cache
def game():
    model = VEEGANConfig(latent=3, hidden=(8,)).build({"field": Field((2, 2), REAL)})
    draw = np.random.default_rng(0).normal
    params, buffers = jax.eval_shape(model.init, jax.random.key(0), {})
    params = jax.tree.map(lambda a: draw(size=a.shape).astype(np.float32), params)
    return model, params, buffers, {"field": draw(size=(5, 2, 2)).astype(np.float32)}


def perceptron(params, x):
    layers = params["body"]["layers"]
    h = np.maximum(np.asarray(x, np.float64) @ layers["0"]["kernel"] + layers["0"]["bias"], 0)
    return h @ layers["1"]["kernel"] + layers["1"]["bias"]


def test_losses_by_hand():
    model, params, buffers, batch = game()
    key, x = jax.random.key(3), batch["field"].reshape(5, 4)
    z = np.asarray(model.latents(key, 5))
    made = perceptron(params["generator"], z)
    of_latents = perceptron(params["critic"], np.hstack([z, made]))[:, 0]
    of_data = perceptron(params["critic"], np.hstack([perceptron(params["reconstructor"], x), x]))[:, 0]
    error = np.sum((z - perceptron(params["reconstructor"], made)) ** 2, axis=1).mean()
    critic = np.logaddexp(0, -of_latents).mean() + np.logaddexp(0, of_data).mean()
    found = [jax.jit(turn.loss)(params, buffers, batch, key, step=0, ema=None)[0] for turn in model.turns]
    np.testing.assert_allclose(found, [critic, of_latents.mean() + error, error], rtol=1e-5)
    assert [turn.player for turn in model.turns] == ["critic", "generator", "reconstructor"]


def linear(gain):
    """A network of one number: ``gain`` times its input."""
    return Network(lambda key: ({}, {}), lambda params, buffers, x, **_: (gain * x, buffers))


@pytest.mark.parametrize("tenths", [(2, 3, 5), (5, 3, 2)])
def test_the_best_critic_is_the_density_ratio_of_pairs(tenths):
    """With F the inverse of G pairs lie on one line, and their ratio is that of samples to data: here of three points.

    Nothing is better than log q / p, where the critic's loss is log 4 - 2 JSD and D's mean under q is KL(q || p).
    """
    p, q = np.array([0.5, 0.3, 0.2]), np.array(tenths) / 10
    points = np.array([-1.0, 0.0, 1.0])
    data, samples = (np.repeat(points, np.rint(10 * law).astype(int))[:, None].astype(np.float32) for law in (p, q))

    class Drawn(VEEGAN):
        def latents(self, key, n):
            return jnp.asarray(samples) / 2

    def lookup(params, buffers, pairs, **_):
        return params[jnp.round(pairs[:, 1] + 1).astype(int)], buffers

    model = Drawn((1,), linear(2.0), linear(0.5), Network(lambda key: None, lookup), 1, makes="point")
    params, batch = {"generator": {}, "reconstructor": {}}, {"point": data}
    buffers = {"generator": {}, "reconstructor": {}, "critic": {}}

    @jax.jit
    def loss(d):
        return model.critic_loss({**params, "critic": d}, buffers, batch, jax.random.key(0), step=0, ema=None)[0]

    best = jnp.asarray(np.log(q / p), jnp.float32)
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)
    middle = (p + q) / 2
    divergence = 0.5 * np.sum(p * np.log(p / middle)) + 0.5 * np.sum(q * np.log(q / middle))
    np.testing.assert_allclose(loss(best), np.log(4) - 2 * divergence, rtol=1e-5)
    generator, _ = model.generator_loss({**params, "critic": best}, buffers, batch, jax.random.key(0), step=0, ema=None)
    np.testing.assert_allclose(generator, np.sum(q * np.log(q / p)), atol=1e-6)  # all latents are found again


def test_data_are_taken_to_latents_and_back():
    model, params, buffers, batch = game()
    z = model.encode(params, buffers, batch["field"])
    np.testing.assert_allclose(z, perceptron(params["reconstructor"], batch["field"].reshape(5, 4)), rtol=1e-4)
    assert model.decode(params, buffers, z).shape == (5, 2, 2)


def test_the_widths_of_the_reference():
    model = REFERENCE.build(images((28, 28, 1)))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), {})
    sizes = {player: sum(leaf.size for leaf in jax.tree.leaves(tree)) for player, tree in params.items()}

    def dense(*widths):
        return sum(a * b + b for a, b in itertools.pairwise(widths))

    expected = {"generator": (32, 256, 784), "reconstructor": (784, 256, 32), "critic": (816, 256, 1)}
    assert sizes == {player: dense(*widths) for player, widths in expected.items()}
