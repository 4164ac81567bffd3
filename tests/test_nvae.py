"""The hierarchy of latents: what its parts are by hand, its bound in closed form, and how its terms are weighed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.fields import images
from gen_jax.models.nvae import NVAEConfig, balance
from gen_jax.networks.nvae import FLOOR, clamped
from gen_jax.nn import spectral
from gen_jax.nn.depthwise import SqueezeExcite, depthwise
from tests.tiers import mostly_slow

KEY = jax.random.key(0)
TINY = NVAEConfig(widths=(8, 4), groups=(1, 2), latent=2, patch=2, kl_warmup=10, smoothness=0.0, importance_samples=4)


@pytest.fixture(scope="module")
def begun():
    game = TINY.build(images((8, 8, 1)))
    return game, *jax.jit(lambda key: game.init(key, {}))(KEY)


@pytest.mark.parametrize("size", mostly_slow([1, 3, 5], 5))
def test_a_depthwise_convolution_is_one_of_groups_and_so_are_its_gradients(size):
    x, dy = jax.random.normal(KEY, (2, 3, 7, 6, 4))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 4))

    def grouped(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel[:, :, None], (1, 1), "SAME", dimension_numbers=layout, feature_group_count=4
        )

    for found, expected in zip(*(jax.tree.leaves(jax.vjp(f, x, kernel)[0]) for f in (depthwise, grouped))):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for found, expected in zip(*(jax.vjp(f, x, kernel)[1](dy) for f in (depthwise, grouped))):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_channels_are_weighed_by_their_means():
    module = SqueezeExcite(32, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 32)).astype(np.float32)
    squeeze, excite = (np.asarray(layer.kernel[...]) for layer in (module.squeeze, module.excite))
    hidden = np.maximum(x.mean(axis=(1, 2)) @ squeeze, 0)
    expected = x / (1 + np.exp(-(hidden @ excite)))[:, None, None]
    assert squeeze.shape == (32, 4)
    np.testing.assert_allclose(module(x), expected, rtol=1e-4)


def test_moments_are_clamped_softly():
    mean, deviation = clamped(jnp.asarray([-1e4, 0.1, 1e4, -1e4, 0.1, 1e4]))
    np.testing.assert_allclose(mean, [-5, 0.1, 5], rtol=1e-3)
    np.testing.assert_allclose(deviation, np.exp([-5, 0.1, 5]) + FLOOR, rtol=1e-3)


@pytest.mark.slow
def test_divergences_are_the_means_of_the_log_ratios(begun):
    """KL(q || p) = E_q log q - log p, group by group given those above; of the first, the ones above are nothing."""
    game, params, buffers = begun
    own = jax.tree.map(lambda leaf: leaf + 0.03 * jax.random.normal(KEY, leaf.shape), params["hierarchy"])
    x = jnp.repeat(jax.random.uniform(KEY, (1, 8, 8, 1), minval=-1), 4000, axis=0)
    passed, _ = jax.jit(lambda x: game.net.apply(own, buffers["hierarchy"]["network"], x, key=KEY))(x)
    assert passed.kl.shape == passed.log_ratio.shape == (3, 4000)
    assert np.all(passed.kl >= 0) and float(passed.kl[:, 0].sum()) > 0.01
    np.testing.assert_allclose(passed.kl[0], passed.kl[0, 0], rtol=1e-4)
    error = 5 * np.asarray(passed.log_ratio - passed.kl).std(axis=1) / np.sqrt(4000) + 1e-4
    assert np.all(np.abs(passed.log_ratio.mean(axis=1) - passed.kl.mean(axis=1)) < error)


@pytest.mark.slow
def test_where_the_posterior_adds_nothing_it_is_the_prior(begun):
    game, params, buffers = begun
    own = jax.tree.map(jnp.copy, params["hierarchy"])
    for scale in own["scales"].values():
        for group in scale.values():
            group["posterior"] = jax.tree.map(jnp.zeros_like, group["posterior"])
    x = jax.random.uniform(KEY, (3, 8, 8, 1), minval=-1)
    carried = buffers["hierarchy"]["network"]
    pass_on = jax.jit(lambda x: game.net.apply(own, carried, x, key=KEY)[0])
    passed = pass_on(x)
    # The first group's q is then N(0, (1 + FLOOR)^2), by the floor under deviations; the others' is p.
    excess = 0.5 * ((1 + FLOOR) ** 2 - 1) - np.log(1 + FLOOR)
    np.testing.assert_allclose(passed.kl, [[2 * 2 * 2 * excess] * 3, [0] * 3, [0] * 3], atol=1e-5)
    np.testing.assert_array_equal(passed.raw, pass_on(-x).raw)  # nothing of x passes but by the posterior


@pytest.mark.slow
def test_the_bound_rises_with_its_draws_and_samples_follow_their_temperature(begun):
    game, params, buffers = begun
    own = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(KEY, leaf.shape), params)
    x = {"image": jnp.repeat(jax.random.uniform(KEY, (1, 8, 8, 1), minval=-1), 200, axis=0)}
    bounds = [
        float(jax.jit(dataclasses.replace(game, importance_samples=k).log_prob)(own, buffers, KEY, x).mean())
        for k in (1, 8)
    ]
    assert bounds[0] < bounds[1]
    cold = dataclasses.replace(game, temperature=1e-6)
    still, varied = (jax.jit(g.sample, static_argnums=3)(own, buffers, KEY, 50) for g in (cold, game))
    assert float(still.std(axis=0).max()) < 1e-4 < float(varied.std(axis=0).max())


@pytest.mark.slow
def test_what_is_balanced_and_when(begun):
    game, params, buffers = begun
    x = {"image": jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1)}
    np.testing.assert_allclose(game.shares, (1, 2, 2))  # 4 places to a place above, two groups
    kl = jnp.asarray([3.0, 1.0, 0.0])
    np.testing.assert_allclose(balance(kl, (1, 2, 2)), np.array([3.01, 0.505, 0.005]) / 3.52 * 3, rtol=1e-5)
    own, carried, key = params["hierarchy"], buffers["hierarchy"]["network"], jax.random.split(KEY)[1]
    passed = jax.jit(lambda x: game.net.apply(own, carried, x, key=key)[0])(x["image"])
    terms = np.asarray(passed.kl.mean(axis=1))
    at = jax.jit(lambda step: game.loss(params, buffers, x, KEY, step=step, ema={}))
    for step, weights in ((0, 1e-4), (5, 0.5), (10, 1.0), (99, 1.0)):
        loss, aux = at(step)
        balanced = np.asarray(balance(jnp.asarray(terms), game.shares)) if weights < 1 else np.ones(3)
        expected = -aux.metrics["log_likelihood"] + weights * (balanced * terms).sum()
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.slow
def test_the_smoothness_is_the_sum_of_all_kernels_largest_singular_values(begun):
    _, params, buffers = begun
    own, vectors = params["hierarchy"], buffers["hierarchy"]["vectors"]
    after = jax.jit(lambda v: jax.lax.fori_loop(0, 300, lambda _, v: spectral.largest_singular_values(own, v)[1], v))
    found, _ = jax.jit(lambda v: spectral.largest_singular_values(own, v))(after(vectors))
    leaves = [(jax.tree_util.keystr(p), x) for p, x in jax.tree_util.tree_leaves_with_path(own)]
    kernels = [np.asarray(x).reshape(-1, x.shape[-1]) for path, x in leaves if "kernel" in path]
    assert len(kernels) == len(vectors) > 20
    np.testing.assert_allclose(found, sum(np.linalg.norm(k, 2) for k in kernels), rtol=1e-3)
    gradient = jax.grad(lambda k: spectral.largest_singular_values({"kernel": k}, {"kernel": u})[0])
    kernel = np.random.default_rng(0).normal(size=(5, 3))
    left, _, right = np.linalg.svd(kernel)
    u = jnp.asarray(right[0])
    np.testing.assert_allclose(gradient(jnp.asarray(kernel)), np.outer(left[:, 0], right[0]), atol=1e-5)


def test_scales_and_groups_are_as_many():
    with pytest.raises(ValueError, match=r"a number for each of widths \(8, 4\), got \(1,\)"):
        NVAEConfig(widths=(8, 4), groups=(1,))
