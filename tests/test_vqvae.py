"""Vector quantisation, the causal prior, and the two stages."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from gen_jax.fields import images
from gen_jax.losses import quantize
from gen_jax.models import vqvae
from gen_jax.networks.transformer import CausalTransformer, empty_cache
from gen_jax.nn.functional import network, parameter_count

KEY = jax.random.key(0)


def log_prob(game, params, index, label):
    return game.prior.log_prob(params, {}, KEY, {"latent": index, "label": label})


CODEC = vqvae.VQCodecConfig(channels=8, residual_channels=4, residual_layers=1, codes=6, code_width=3)
TINY = vqvae.VQVAEConfig(CODEC, prior_width=8, prior_layers=2, prior_heads=2)
SMALL_PRIOR = vqvae.VQVAEConfig(
    vqvae.VQCodecConfig(codes=3), prior_width=8, prior_layers=2, prior_heads=2, conditional=True
)


def test_reference_codec_has_the_published_number_of_parameters():
    game = vqvae.REFERENCE.build(images((32, 32, 3))).codec
    assert parameter_count(game.encoder.init) + parameter_count(game.decoder.init) == 662_723
    _, buffers = jax.eval_shape(lambda key: game.init(key, {}), KEY)
    assert buffers["codec"]["codes"].size == 32_768
    assert game.grid == (8, 8)


@pytest.mark.parametrize("seed", range(5))
def test_without_decay_the_codebook_takes_one_step_of_lloyds_algorithm(seed):
    rng = np.random.default_rng(seed)
    z, codes = rng.normal(size=(200, 4)).astype(np.float32), rng.normal(size=(7, 4)).astype(np.float32)
    codes[0] = 100.0  # too far away to be anybody's nearest: stays
    book = quantize.new_codebook(jnp.asarray(codes))
    index = quantize.nearest(jnp.asarray(z), book.codes)
    np.testing.assert_array_equal(index, ((z[:, None] - codes) ** 2).sum(-1).argmin(1))
    moved = quantize.follow(book, jnp.asarray(z), index, decay=0.0)
    used = np.unique(index)
    expected = codes.copy()
    for k in used:
        expected[k] = z[np.asarray(index) == k].mean(axis=0)
    np.testing.assert_allclose(moved.codes, expected, rtol=1e-4, atol=1e-5)
    if seed == 0:  # scikit-learn moves empty clusters, so it is compared on the used ones alone
        near = KMeans(len(used), init=codes[used], n_init=1, max_iter=1, algorithm="lloyd", tol=0).fit(z)
        np.testing.assert_allclose(near.cluster_centers_, expected[used], rtol=1e-4, atol=1e-4)


def test_with_decay_the_codebook_converges_to_the_fixed_point_of_k_means():
    z = jnp.asarray(np.random.default_rng(1).normal(size=(300, 2)), jnp.float32)
    book = quantize.new_codebook(z[:5])
    for _ in range(400):
        book = quantize.follow(book, z, quantize.nearest(z, book.codes), decay=0.9)
    index = np.asarray(quantize.nearest(z, book.codes))
    means = np.stack([np.asarray(z)[index == k].mean(axis=0) for k in range(5)])
    np.testing.assert_allclose(book.codes, means, atol=1e-4)


def test_straight_through_passes_the_gradient_and_the_value():
    z, codes = jax.random.normal(KEY, (10, 3)), jax.random.normal(jax.random.key(1), (4, 3))
    z_q = codes[quantize.nearest(z, codes)]
    weight = jax.random.normal(jax.random.key(2), (10, 3))
    value, gradient = jax.value_and_grad(lambda z: (weight * jnp.sin(quantize.straight_through(z, z_q))).sum())(z)
    np.testing.assert_allclose(value, (weight * jnp.sin(z_q)).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, weight * jnp.cos(z_q), rtol=1e-5)
    commitment = jax.grad(lambda z: quantize.commitment(z, z_q))(z)
    np.testing.assert_allclose(commitment, 2 * (z - z_q) / z.size, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(quantize.nearest(z_q, codes), quantize.nearest(z, codes))  # idempotent


def test_dead_codes_restart_at_encoder_outputs_and_live_ones_stay():
    z = jax.random.normal(KEY, (50, 2))
    book = quantize.Codebook(jnp.full((4, 2), 9.0), jnp.asarray([0.0, 0.4, 0.6, 3.0]), jnp.full((4, 2), 9.0))
    moved = quantize.restart(book, z, KEY, below=0.5)
    np.testing.assert_array_equal(moved.codes[2:], book.codes[2:])
    for code in np.asarray(moved.codes[:2]):
        assert (np.asarray(z) == code).all(axis=1).any()
    np.testing.assert_allclose(moved.sums[:2] / moved.counts[:2, None], moved.codes[:2], rtol=1e-6)


def test_perplexity_counts_codes_used_alike():
    for used in (1, 3, 8):
        np.testing.assert_allclose(quantize.perplexity(jnp.arange(24) % used, 8), used, rtol=1e-5)


def _prior(length=6, codes=5, classes=3):
    prior = network(CausalTransformer, codes=codes, length=length, classes=classes, width=8, layers=2, heads=2)
    params, _ = prior.init(KEY)
    params["head"]["kernel"] = jax.random.normal(jax.random.key(9), params["head"]["kernel"].shape)
    return prior, params


def test_each_position_sees_all_before_it_and_nothing_after():
    length = 6
    prior, params = _prior(length)

    def logits(embedded):
        return prior.apply(params, {}, embedded, method=_embedded_logits)[0][0].sum(axis=-1)

    embedded = jax.random.normal(KEY, (1, length, 8))
    jacobian = jnp.abs(jax.jacrev(logits)(embedded)).sum(axis=(1, 3))  # [output, input]; input i is code i - 1
    assert bool((jnp.triu(jacobian, 1) == 0).all())
    assert bool((jacobian[jnp.tril_indices(length)] > 0).all())


def _embedded_logits(module, embedded, key, train):
    return module.logits(embedded)


def test_the_cache_gives_the_logits_of_the_whole_sequence():
    prior, params = _prior()
    index = jax.random.randint(KEY, (4, 6), 0, 5)
    label = jnp.asarray([0, 1, 2, 0])
    whole, _ = prior.apply(params, {}, index, label)
    cache, token = empty_cache(4, 6, width=8, layers=2, heads=2), 5 + label
    for position in range(6):
        (logits, cache), _ = prior.apply(params, {}, token, position, cache, method=CausalTransformer.step)
        np.testing.assert_allclose(logits, whole[:, position], rtol=2e-4, atol=2e-5)
        token = index[:, position]


def test_the_prior_sums_to_one_over_all_sequences():
    _, params = _prior(length=4, codes=3)
    index = jnp.asarray(list(itertools.product(range(3), repeat=4)))
    game = SMALL_PRIOR.build(images((8, 8, 1), 3))
    assert game.codec.grid == (2, 2)
    for label in range(3):
        nats = log_prob(game, {"prior": params}, index, jnp.full(len(index), label))
        np.testing.assert_allclose(jnp.exp(nats).sum(), 1.0, rtol=1e-4)


def test_sampled_codes_follow_the_prior():
    _, params = _prior(length=4, codes=3)
    game = SMALL_PRIOR.build(images((8, 8, 1), 3))
    index = game.prior.sample({"prior": params}, {}, KEY, 20_000, label=jnp.full(20_000, 1)).reshape(-1, 4)
    every = jnp.asarray(list(itertools.product(range(3), repeat=4)))
    expected = np.exp(log_prob(game, {"prior": params}, every, jnp.full(len(every), 1)))
    found = np.bincount(np.asarray(index) @ [27, 9, 3, 1], minlength=81) / 20_000
    assert 0.5 * np.abs(found - expected).sum() < 0.035  # total variation; about 0.025 by chance alone


def test_a_new_prior_is_uniform():
    game = TINY.build(images((8, 8, 1)))
    batch = {"image": jnp.zeros((2, 8, 8, 1))}
    params, buffers = game.init(KEY, batch)
    index = game.codec.encode(params, buffers, batch["image"])
    np.testing.assert_allclose(log_prob(game, params, index, jnp.zeros(2, int)), -4 * np.log(6), rtol=1e-5)


@pytest.mark.slow
def test_the_codec_s_own_prior_is_uniform():
    game, whole = CODEC.build(images((8, 8, 1))), TINY.build(images((8, 8, 1)))
    batch = {"image": jax.random.uniform(KEY, (3, 8, 8, 1), minval=-1)}
    params, buffers = whole.init(KEY, batch)
    both = [model.log_prob(params, buffers, KEY, batch) for model in (game, whole)]
    np.testing.assert_allclose(*both, rtol=1e-5)  # the other prior is new, and so uniform, too
    alike = game.decode(params, buffers, jax.random.randint(KEY, (5, 4), 0, 6))
    np.testing.assert_array_equal(game.sample(params, buffers, KEY, 5), alike)


def test_decoding_the_codes_of_an_image_is_its_reconstruction():
    game = CODEC.build(images((8, 8, 1)))
    x = jax.random.uniform(KEY, (3, 8, 8, 1), minval=-1)
    params, buffers = game.init(KEY, {})
    decoded = game.decode(params, buffers, game.encode(params, buffers, x))
    z, _ = game.encoder.apply(params["codec"]["encoder"], {}, x)
    codes = buffers["codec"]["codes"]
    expected, _ = game.decoder.apply(params["codec"]["decoder"], {}, codes[quantize.nearest(z, codes)])
    np.testing.assert_allclose(decoded, np.clip(expected, -1, 1), atol=1e-6)
