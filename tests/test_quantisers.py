"""Codes by a codebook, by rounding and by signs: there and back, and what each adds to a loss."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import images
from gen_jax.losses import quantize
from gen_jax.models import quantisers, vqvae
from tests.tiers import mostly_slow

KEY = jax.random.key(0)
KINDS = {
    "averages": quantisers.averages(7, 3, beta=0.25, decay=0.99, restart_below=0.5),
    "gradient": quantisers.gradient(7, 3, beta=0.25),
    "fsq": quantisers.fsq((4, 3, 2)),
    "lfq": quantisers.lfq(8, beta=0.25, weight=0.1),
}


@pytest.mark.parametrize("name", mostly_slow(KINDS))
def test_every_code_is_that_of_what_it_stands_for(name):
    of = KINDS[name]
    params, buffers = of.init(KEY)
    every = jnp.arange(of.codes)
    z_q = of.decode(params, buffers, every)
    assert z_q.shape == (of.codes, of.width) and len(np.unique(np.asarray(z_q), axis=0)) == of.codes
    if name != "fsq":  # whose levels are those of bounded outputs
        np.testing.assert_array_equal(of.encode(params, buffers, z_q), every)
    z = 2 * jax.random.normal(KEY, (5, 4, of.width))
    coded = of.learn(params, buffers, z, KEY)
    np.testing.assert_array_equal(coded.codes, of.encode(params, buffers, z))
    np.testing.assert_allclose(coded.z_q, of.decode(params, buffers, coded.codes), atol=1e-6)


LEVELS = [(2,), (3,), (4,), (5,), (8,), (8, 5, 5), (2, 3, 4)]


@pytest.mark.parametrize("levels", mostly_slow(LEVELS, (2, 3, 4)), ids=str)
def test_finite_scalars_reach_every_level_and_numbers_are_their_digits(levels):
    steps = jnp.linspace(-6, 6, 4001)
    for place, many in enumerate(levels):
        z = jnp.zeros((len(steps), len(levels))).at[:, place].set(steps)
        found = np.unique(np.round(np.asarray(quantize.finite_scalars(z, levels))[:, place], 5))
        expected = (np.arange(many) - many // 2) / (many // 2)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    index = jnp.arange(math.prod(levels))
    z_q = quantize.levels_of_number(index, levels)
    np.testing.assert_array_equal(quantize.number_of_levels(z_q, levels), index)
    digits = np.stack(np.unravel_index(np.asarray(index), levels[::-1]), -1)[:, ::-1]
    np.testing.assert_allclose(z_q, digits / (np.array(levels) // 2) - 1, atol=1e-6)


def test_the_gradient_of_a_finite_scalar_is_that_before_it_is_rounded():
    levels, z = (5, 4), jnp.asarray([[0.3, -0.7]])
    got = jax.jacobian(lambda z: quantize.finite_scalars(z, levels)[0])(z)[:, 0]
    expected = []
    for many, value in zip(levels, z[0]):
        half, offset = (many - 1) * 0.999 / 2, 0.0 if many % 2 else 0.5
        expected.append(half * (1 - np.tanh(float(value) + np.tan(offset / half)) ** 2) / (many // 2))
    np.testing.assert_allclose(got, np.diag(expected), rtol=1e-5)


@pytest.mark.parametrize("seed", mostly_slow(range(3)))
def test_a_codebook_that_descends_is_drawn_to_the_means_of_its_outputs(seed):
    rng = np.random.default_rng(seed)
    z, codes = (rng.normal(size=shape).astype(np.float32) for shape in ((40, 3), (6, 3)))
    codes[0] = 50.0  # nobody's nearest
    of = quantisers.gradient(6, 3, beta=0.25)

    def loss(codes, z):
        return of.learn({"codes": codes}, {}, z, KEY).loss

    of_codes, of_z = jax.grad(loss, argnums=(0, 1))(jnp.asarray(codes), jnp.asarray(z))
    index = ((z[:, None] - codes) ** 2).sum(-1).argmin(1)
    expected = np.zeros_like(codes)
    for k in np.unique(index):
        own = z[index == k]
        expected[k] = 2 * len(own) * (codes[k] - own.mean(0)) / z.size
    np.testing.assert_allclose(of_codes, expected, atol=1e-6)
    np.testing.assert_allclose(of_z, 2 * 0.25 * (z - codes[index]) / z.size, atol=1e-6)


@pytest.mark.parametrize("seed", mostly_slow(range(3), 0))
def test_entropies_of_signs_are_those_of_the_softmax_over_all_codes(seed):
    z = 0.1 * np.random.default_rng(seed).normal(size=(9, 3))
    every = np.array([[2 * (k >> i & 1) - 1 for i in range(3)] for k in range(8)])
    logits = 2 * 7.0 * z @ every.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    each, together = quantize.sign_entropies(jnp.asarray(z, jnp.float32), sharpness=7.0)
    np.testing.assert_allclose(each, -(p * np.log(p)).sum(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(together, -(p.mean(0) * np.log(p.mean(0))).sum(), rtol=1e-5)
    np.testing.assert_array_equal(quantize.number_of_signs(jnp.asarray(z)), logits.argmax(1))
    assert together <= 3 * math.log(2) + 1e-6


def test_codes_are_used_if_chosen_within_so_many_steps():
    idle, use = quantisers.unused(4), jax.jit(quantisers.use)
    _, figures = use(jnp.asarray([[1, 1], [3, 1]]), idle)
    assert figures["used"] == 0.5 and figures["perplexity"] == pytest.approx(
        np.exp(-0.75 * np.log(0.75) + 0.25 * np.log(4))
    )
    idle, _ = use(jnp.asarray([2]), idle)
    for step in range(1, quantisers.WINDOW + 1):
        idle, figures = use(jnp.asarray([0]), idle)
        assert figures["used"] == (0.5 if step < quantisers.WINDOW else 0.25)


def test_signs_are_of_a_power_of_two():
    codec = vqvae.VQCodecConfig(quantiser="lfq", codes=100)
    with pytest.raises(ValueError, match=r"^codes: expected a power of two from 2 on for signs, got 100$"):
        codec.build(images((8, 8, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_codec_learns_with_every_quantiser(name):
    """Two grey levels a patch: a few codes are enough, and a codec that passes no gradient stays at the mean image."""
    config = vqvae.VQCodecConfig(1, 16, 8, 1, codes=16, code_width=4, quantiser=name, levels=(4, 4))
    game = config.build(images((8, 8, 1)))
    batch = {"image": jax.random.rademacher(KEY, (64, 4, 4, 1)).astype(float).repeat(2, 1).repeat(2, 2)}
    state = game.init(KEY, batch)

    @jax.jit
    def step(i, params, buffers):
        def loss(own):
            return game.codec_loss({"codec": own}, buffers, batch, jax.random.fold_in(KEY, i), step=i, ema=None)

        (_, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params["codec"])
        return {"codec": jax.tree.map(lambda p, g: p - 0.05 * g, params["codec"], gradient)}, aux.buffers, aux.metrics

    for i in range(300):
        *state, metrics = step(i, *state)
    assert metrics["reconstruction"] < 0.3, metrics
