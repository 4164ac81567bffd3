"""Denoising diffusion GAN: the chain against an exact posterior, the losses by hand, the networks piece by piece."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from gen_jax.diffusion.schedules import discrete
from gen_jax.fields import images
from gen_jax.models import ddgan
from gen_jax.models.ddgan import REFERENCE, SMALL, DDGANConfig, denoise, diffuse_pair, posterior, variances
from gen_jax.networks import ncsnpp
from gen_jax.networks.ddgan import Mapping, StridedCritic
from gen_jax.nn import embed, layers, resample
from gen_jax.nn.functional import network, parameter_count
from gen_jax.nn.minibatch import minibatch_deviation
from gen_jax.protocol import Model, Network, due

TINY = DDGANConfig(
    patch=2,
    base=4,
    multipliers=(1,),
    blocks=1,
    attention=(),
    latent=4,
    style_width=4,
    mapping_layers=1,
    critic_base=4,
    critic_multipliers=(1,),
    critic_time_width=4,
)
DEEPER = dataclasses.replace(
    TINY,
    patch=1,
    multipliers=(1, 2),
    attention=(1,),
    critic_multipliers=(1, 2),
    mapping_layers=2,
    conditional=True,
)


@functools.cache
def game(config=TINY, shape=(8, 8, 1), classes=0):
    model = config.build(images(shape, classes))
    draw = np.random.default_rng(sum(shape)).normal
    batch = {"image": jnp.tanh(draw(size=(6, *shape)).astype(np.float32)), "label": jnp.arange(6) % 3}
    # weights everywhere, for at the start many are zero
    params, buffers = jax.tree.map(
        lambda a: jnp.asarray(draw(size=a.shape) / np.sqrt(max(np.prod(a.shape[:-1]), 1)), a.dtype),
        jax.eval_shape(model.init, jax.random.key(0), batch),
    )
    return model, params, buffers, batch


@functools.cache
def compiled(turn):
    """(params, buffers, batch, key) -> ((loss, aux), gradient) of a turn of ``game()``, jitted."""
    player, loss = game()[0].turns[turn][:2]

    def own(p, params, buffers, batch, key):
        return loss(params | {player: p}, buffers, batch, key, step=0, ema=None)

    differentiated = jax.jit(jax.value_and_grad(own, has_aux=True))
    return lambda params, *arguments: differentiated(params[player], params, *arguments)


@functools.cache
def sampler(n, *arguments):
    return jax.jit(lambda params, buffers, key: game(*arguments)[0].sample(params, buffers, key, n))


# ---- the chain


@pytest.mark.parametrize(
    "steps, expected, posterior_variance",
    [
        (1, [0.99995681], [0]),
        (2, [0.92132403, 0.99945103], [0, 0.92085803]),
        (4, [0.4782553, 0.849206, 0.95641771, 0.9874039], [0, 0.44081915, 0.88420244, 0.98406071]),
        (8, [0.15644526, 0.38149278, 0.54650106, 0.66748765, 0.75619687, 0.82123982, 0.86893031, 0.9038977], None),
    ],
)
def test_schedule(steps, expected, posterior_variance):
    np.testing.assert_allclose(variances(steps), expected, rtol=1e-7)
    np.testing.assert_allclose(np.prod(1 - variances(steps)), 4.31904976e-5, rtol=1e-7)
    if posterior_variance:
        t = jnp.arange(steps)
        got = discrete(variances(steps)).posterior_variance(jnp.zeros(steps), t, t - 1)
        np.testing.assert_allclose(got, posterior_variance, rtol=1e-6)


@pytest.mark.parametrize("t", range(4))
def test_pairs_have_the_moments_of_the_chain(t):
    n, x = 40_000, 0.7
    beta = variances(4)
    kept = np.concatenate([[1], np.cumprod(1 - beta)])[t]
    pair = jax.jit(functools.partial(diffuse_pair, discrete(beta)))
    earlier, later = pair(jax.random.key(t), jnp.full(n, x), jnp.full(n, t))
    np.testing.assert_allclose(np.mean([earlier, later], axis=1), np.sqrt([kept, kept * (1 - beta[t])]) * x, atol=0.025)
    covariance = [
        [1 - kept, np.sqrt(1 - beta[t]) * (1 - kept)],
        [np.sqrt(1 - beta[t]) * (1 - kept), 1 - kept * (1 - beta[t])],
    ]
    np.testing.assert_allclose(np.cov(earlier, later), covariance, atol=0.04)
    if t == 0:
        np.testing.assert_array_equal(earlier, np.float32(x))  # x_0 is the data, without noise


WEIGHT, MEAN, DEVIATION = np.array([0.5, 0.3, 0.2]), np.array([-0.8, 0.1, 0.9]), np.array([0.05, 0.2, 0.1])


def exact_generator(process):
    """Draws x_0 from p(x_0 | x_{t+1}) of the mixture, every number on its own."""

    def generate(key, x, t):
        y, keys = x[..., None], jax.random.split(key)
        alpha, sigma = process.at(t, y)
        variance = alpha**2 * DEVIATION**2 + sigma**2
        logits = jnp.log(WEIGHT) - 0.5 * jnp.log(variance) - 0.5 * (y - alpha * MEAN) ** 2 / variance
        k = jax.random.categorical(keys[0], logits)
        mean = (MEAN * sigma**2 + alpha * DEVIATION**2 * y) / variance
        spread = DEVIATION * sigma / jnp.sqrt(variance)
        mean, spread = (
            jnp.take_along_axis(jnp.broadcast_to(a, logits.shape), k[..., None], -1) for a in (mean, spread)
        )
        return mean[..., 0] + spread[..., 0] * jax.random.normal(keys[1], x.shape)

    return generate


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_exact_generator_reproduces_the_mixture(steps):
    process = discrete(variances(steps))
    start = jax.random.normal(jax.random.key(0), (2_000, 2, 2, 1))
    chain = jax.jit(lambda key, x: denoise(process, steps, key, exact_generator(process), x))
    x = np.asarray(chain(jax.random.key(1), start), np.float64).ravel()

    def distribution(x):
        return np.sum(WEIGHT * scipy.stats.norm.cdf(x[:, None], MEAN, DEVIATION), axis=-1)

    assert scipy.stats.kstest(x, distribution).statistic < 1.63 / np.sqrt(x.size)  # the 1 % point


def test_one_step_is_the_generator_itself():
    process = discrete(variances(1))
    start = jax.random.normal(jax.random.key(0), (5, 4, 4, 1))
    x = denoise(process, 1, jax.random.key(1), lambda key, x, t: jnp.tanh(x + t), start)
    np.testing.assert_allclose(x, jnp.tanh(start), rtol=1e-6)


def test_no_noise_at_the_last_step_and_fresh_noise_before():
    process, start = discrete(variances(4)), jnp.zeros((500, 1))
    seen = jax.jit(lambda key: denoise(process, 4, key, lambda key, x, t: x, start))(jax.random.key(1))
    assert 0.3 < np.std(seen) < 3
    last = [posterior(process, jax.random.key(k), start + 0.5, start, jnp.zeros(500, int)) for k in range(2)]
    np.testing.assert_allclose(last, 0.5, rtol=1e-6)
    # a generator that draws noise draws other noise at every step, from t = 3 down to 0
    times = jax.jit(lambda key: denoise(process, 4, key, lambda key, x, t: 0 * x + t, start + 1))(jax.random.key(1))
    np.testing.assert_array_equal(times, 0)


# ---- the game


def stand_ins(steps=4):
    """A game whose networks are small formulas, and the list of what they were given."""
    calls = []

    def generate(params, buffers, x, t, z, label=None):
        calls.append(("generator", x, t, z))
        return jnp.full_like(x, params), buffers

    def judge(params, buffers, x, later, t, label=None):
        calls.append(("critic", x, later, t))
        w = params * jnp.cos(jnp.arange(x[0].size)).reshape(x.shape[1:])
        return jnp.sum(w * x, (1, 2, 3)) + 3 * jnp.square(later).sum((1, 2, 3)), buffers

    model = ddgan.DDGAN(
        (2, 2, 1), 0, Network(None, generate), Network(None, judge), 5, steps, discrete(variances(steps)), 0.6, 15
    )
    images = jax.random.normal(jax.random.key(0), (64, 2, 2, 1))
    return model, {"generator": jnp.float32(0.25), "critic": jnp.float32(2.0)}, {"image": images}, calls


def test_the_critic_compares_pairs_with_the_same_later_image():
    model, params, batch, calls = stand_ins()
    buffers = {"generator": {}, "critic": {}}
    loss, aux = model.critic_loss(params, buffers, batch, jax.random.key(1), step=0, ema=None)
    (_, given, t, z), (_, real, later, t_real), (_, fake, later_fake, t_fake) = calls
    for a, b in ((given, later), (later, later_fake), (t, t_real), (t, t_fake)):
        np.testing.assert_array_equal(a, b)
    assert z.shape == (64, 5) and set(np.asarray(t).tolist()) == {0, 1, 2, 3}
    first = np.asarray(t) == 0  # where x_t is an image: the data's, or the generator's own
    np.testing.assert_array_equal(np.asarray(real)[first], np.asarray(batch["image"])[first])
    np.testing.assert_allclose(np.asarray(fake)[first], 0.25, rtol=1e-6)
    assert np.std(np.asarray(fake)[~first]) > 0.3
    logits = [np.asarray(model.critic.apply(params["critic"], {}, x, later, t)[0], np.float64) for x in (real, fake)]
    np.testing.assert_allclose(loss, np.logaddexp(0, -logits[0]).mean() + np.logaddexp(0, logits[1]).mean(), rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["real_logit"], logits[0].mean(), rtol=1e-4)
    np.testing.assert_allclose(aux.metrics["fake_logit"], logits[1].mean(), rtol=1e-4)


def test_the_generator_fools_the_critic_with_noise_of_its_own():
    model, params, batch, calls = stand_ins()
    buffers = {"generator": {}, "critic": {}}
    loss, _ = model.generator_loss(params, buffers, batch, jax.random.key(1), step=0, ema=None)
    (_, given, t, _), (_, fake, later, t_fake) = calls
    np.testing.assert_array_equal(given, later)
    np.testing.assert_array_equal(t, t_fake)
    logits = np.asarray(model.critic.apply(params["critic"], {}, fake, later, t)[0], np.float64)
    np.testing.assert_allclose(loss, np.logaddexp(0, -logits).mean(), rtol=1e-5)


def test_the_penalty_is_on_the_earlier_image_alone():
    # The critic is linear in x_t with slope w, and steep in x_{t+1}, which must not count.
    model, params, batch, _ = stand_ins()
    loss, _ = jax.jit(model.penalty_loss)(params, {"critic": {}}, batch, jax.random.key(1), step=0, ema=None)
    w = 2.0 * np.cos(np.arange(4))
    np.testing.assert_allclose(loss, 0.6 / 2 * np.sum(w**2), rtol=1e-5)


def test_turns():
    model = game()[0]
    assert isinstance(model, Model) and model.network_evaluations == 4
    assert [(turn.player, turn.every) for turn in model.turns] == [("critic", 1), ("critic", 15), ("generator", 1)]
    assert [due(model.turns, step) for step in (0, 1, 15)] == [(0, 1, 2), (0, 2), (0, 1, 2)]
    without = dataclasses.replace(TINY, penalty=0.0).build(images((8, 8, 1)))
    assert [turn.player for turn in without.turns] == ["critic", "generator"]


def test_losses_and_their_gradients():
    model, params, buffers, batch = game()
    for i, turn in enumerate(model.turns):
        (loss, aux), gradient = compiled(i)(params, buffers, batch, jax.random.key(4))
        assert loss.shape == () and loss.dtype == jnp.float32 and jnp.isfinite(loss)
        assert not aux.buffers
        chex.assert_tree_all_finite(gradient)
        leaves, _ = jax.tree_util.tree_flatten_with_path(gradient)
        dead = {jax.tree_util.keystr(path) for path, leaf in leaves if not jnp.any(leaf)}
        # The penalty sees slopes, which behind the last curved function no bias changes.
        penalised = turn.loss == model.penalty_loss
        assert dead <= ({"['head']['bias']", "['last']['bias']"} if penalised else set())


def test_images_are_independent_of_their_batch_mates():
    model, params, buffers, _ = game()
    many, few = (sampler(n)(params, buffers, jax.random.key(7)) for n in (6, 3))
    chex.assert_shape(many, (6, *model.shape))
    assert many.dtype == jnp.float32 and jnp.abs(many).max() <= 1
    np.testing.assert_allclose(many[:3], few, atol=1e-4)
    assert jnp.abs(many[0] - many[1]).max() > 1e-3


def test_labels_times_and_latents_matter():
    model, params, buffers, batch = game(DEEPER, (12, 12, 3), 3)
    x, z = batch["image"], jax.random.normal(jax.random.key(0), (6, 4))
    zero = jnp.zeros(6, int)

    @jax.jit
    def outputs(t, label, z):
        clean, _ = model.generator.apply(params["generator"], buffers["generator"], x, t, z, label)
        return clean, model.critic.apply(params["critic"], buffers["critic"], x, x[::-1], t, label)[0]

    base = outputs(zero, zero, z)
    chex.assert_shape(base, ((6, 12, 12, 3), (6,)))
    for t, label in ((1, 0), (0, 2)):
        for a, b in zip(base, outputs(zero + t, zero + label, z)):
            assert jnp.abs(a - b).max() > 1e-3
    assert jnp.abs(base[0] - outputs(zero, zero, -z)[0]).max() > 1e-3


def test_samples_are_of_the_classes_they_are_told():
    def generate(params, buffers, x, t, z, label):
        return jnp.broadcast_to(label[:, None, None, None], x.shape).astype(jnp.float32), buffers

    model = dataclasses.replace(game()[0], classes=3, generator=Network(None, generate))
    empty = {"generator": {}}
    given = jax.jit(lambda label: model.sample(empty, empty, jax.random.key(0), 2, label=label))(jnp.array([2, 1]))
    np.testing.assert_allclose(given[:, 0, 0, 0], [2, 1], rtol=1e-6)


def test_the_start():
    # The generator begins at grey, whatever it is given; nothing is infinite.
    model = TINY.build(images((8, 8, 1)))
    params, buffers = model.init(jax.random.key(0), {})
    chex.assert_tree_all_finite(params)
    np.testing.assert_array_equal(sampler(6)(params, buffers, jax.random.key(7)), 0)
    for turn in range(3):
        (loss, _), gradient = compiled(turn)(params, buffers, game()[3], jax.random.key(0))
        chex.assert_tree_all_finite((loss, gradient))


def test_bfloat16_weights():
    model, params, buffers, batch = game()
    params = jax.tree.map(lambda a: a / 2, params)  # logits of order 1, where the loss is not their exponential
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    loss, _ = jax.jit(functools.partial(model.generator_loss, step=0, ema=None))(
        half, buffers, batch, jax.random.key(4)
    )
    (full, _), _ = compiled(2)(params, buffers, batch, jax.random.key(4))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, full, rtol=0.1)


# ---- the networks


def test_published_parameter_counts():
    model = REFERENCE.build(images((32, 32, 3)))
    assert parameter_count(model.generator.init) == 48_432_515
    assert parameter_count(model.critic.init) == 12_741_633


@pytest.mark.parametrize(
    "side, expected", [(32, [32, 16, 8, 4]), (28, [28, 14, 7, 7]), (12, [12, 6, 6, 6]), (8, [8, 4, 4, 4])]
)
def test_sides_of_levels(side, expected):
    assert ncsnpp.sizes((side, side), 4) == [(each, each) for each in expected]


def test_odd_sides():
    # 28, 14, 7 and 7 again: the reference configuration takes Fashion-MNIST as it is.
    model = dataclasses.replace(REFERENCE, base=4, blocks=1, critic_base=2).build(images((28, 28, 1)))
    params, buffers = jax.eval_shape(model.init, jax.random.key(0), {})
    x, t = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)
    z = jax.ShapeDtypeStruct((2, 100), jnp.float32)
    clean, _ = jax.eval_shape(model.generator.apply, params["generator"], buffers["generator"], x, t, z)
    logits, _ = jax.eval_shape(model.critic.apply, params["critic"], buffers["critic"], x, x, t)
    assert clean.shape == x.shape and logits.shape == (2,)


@pytest.mark.parametrize("size", [2, 6, 7])
def test_upsampling_is_zero_insertion_and_the_filter(size):
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    expected = x
    for axis in (1, 2):
        full = scipy.signal.upfirdn([0.25, 0.75, 0.75, 0.25], expected, up=2, axis=axis)  # from x[0], two taps early
        expected = np.take(full, np.arange(1, 2 * size + 1), axis=axis)
    np.testing.assert_allclose(resample.upsample(x), expected, atol=1e-5)


@pytest.mark.parametrize("size", [2, 6, 8])
def test_downsampling_is_the_filter_at_every_second_pixel(size):
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    expected = x
    for axis in (1, 2):
        full = scipy.signal.upfirdn([0.125, 0.375, 0.375, 0.125], expected, axis=axis)
        expected = np.take(full, np.arange(2, size + 2, 2), axis=axis)
    np.testing.assert_allclose(resample.downsample(x), expected, atol=1e-5)
    # and, up to a factor, the transpose of upsampling
    y = np.random.default_rng(1).normal(size=(2, size // 2, size // 2, 3))
    np.testing.assert_allclose(np.vdot(resample.downsample(x), y), np.vdot(x, resample.upsample(y)) / 4, rtol=1e-4)


def test_blur_is_the_filter():
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 2)).astype(np.float32)
    taps = np.array([1, 3, 3, 1]) / 8
    for padding in (1, 2):
        got = resample.blur(x, padding)
        for c in range(2):
            padded = np.pad(x[0, :, :, c], padding)
            expected = scipy.signal.correlate2d(padded, np.outer(taps, taps), "valid")
            np.testing.assert_allclose(got[0, :, :, c], expected, atol=1e-6)


def test_constants_stay_constant():
    x = jnp.ones((1, 8, 8, 1))
    for resampled in (resample.upsample(x), resample.downsample(x)):
        np.testing.assert_allclose(resampled[:, 1:-1, 1:-1], 1, rtol=1e-6)


def test_blocks_of_pixels_become_channels_and_back():
    x = jnp.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    y = resample.space_to_depth(x, 2)
    chex.assert_shape(y, (2, 2, 2, 12))
    np.testing.assert_array_equal(y[1, 0, 1].reshape(2, 2, 3), x[1, 0:2, 2:4])
    np.testing.assert_array_equal(resample.depth_to_space(y, 2), x)


def test_adaptive_group_normalisation():
    rng = np.random.default_rng(0)
    x = 3 + 2 * rng.normal(size=(3, 4, 4, 12))
    scale, shift = rng.normal(size=(2, 3, 12))
    groups = layers.group_count(12)
    assert groups == 3
    grouped = x.reshape(3, 4, 4, groups, 4)
    normalised = (grouped - grouped.mean((1, 2, 4), keepdims=True)) / np.sqrt(
        grouped.var((1, 2, 4), keepdims=True) + 1e-6
    )
    expected = normalised.reshape(x.shape) * scale[:, None, None] + shift[:, None, None]
    got = jax.jit(layers.normalise_groups, static_argnums=1)(
        *(jnp.asarray(a, jnp.float32) if not isinstance(a, int) else a for a in (x, groups, scale, shift))
    )
    np.testing.assert_allclose(got, expected, atol=1e-4)
    flat = layers.normalise_groups(jnp.ones((1, 2, 2, 4)), 1, jnp.ones((1, 4)), jnp.full((1, 4), 0.5))
    np.testing.assert_allclose(flat, 0.5, atol=1e-3)  # no variance, no infinity


@pytest.mark.parametrize("width, groups", [(128, 32), (384, 32), (256, 32), (144, 24), (48, 12), (8, 2), (3, 1)])
def test_group_count(width, groups):
    assert layers.group_count(width) == groups


def test_sinusoids():
    t = np.array([0, 1, 3])
    frequency = 1e4 ** (-np.arange(4) / 3)
    expected = np.concatenate([np.sin(t[:, None] * frequency), np.cos(t[:, None] * frequency)], axis=1)
    np.testing.assert_allclose(embed.sinusoidal(jnp.asarray(t), 8), expected, atol=1e-6)


def test_mapping_sees_the_direction_of_z_alone():
    made = network(Mapping, latent=5, width=6, layers=2)
    params, buffers = made.init(jax.random.key(0))
    z = jax.random.normal(jax.random.key(1), (4, 5))
    np.testing.assert_allclose(_mapped(made, params, 100 * z), _mapped(made, params, z), rtol=1e-4, atol=1e-6)
    h = np.asarray(z / np.sqrt(np.mean(np.square(z), axis=-1, keepdims=True)))
    for layer in params["layers"].values():
        h = h @ layer["kernel"] + layer["bias"]
        h = h / (1 + np.exp(-h))
    np.testing.assert_allclose(_mapped(made, params, z), h, rtol=1e-4, atol=1e-6)
    assert not buffers


def _mapped(made, params, z):
    return made.apply(params, {}, z, method=lambda module, z, key, train: module(z))[0]


def test_minibatch_deviation():
    x = jnp.array([0, 0, 0, 0, 1, 2, 3, 4, 100, 200, 300, 400], jnp.float32).reshape(12, 1, 1, 1)
    strided = [86.178, 129.191, 163.557]
    np.testing.assert_allclose(minibatch_deviation(x).ravel(), np.tile(strided, 4), rtol=1e-5)
    np.testing.assert_allclose(minibatch_deviation(jnp.ones((8, 2, 2, 3))), np.full((8, 2, 2, 1), 1e-4), rtol=1e-5)
    y = jax.random.normal(jax.random.key(0), (8, 2, 3, 5))
    groups = np.asarray(y, np.float64).reshape(4, 2, -1)
    np.testing.assert_allclose(
        minibatch_deviation(y)[:, 1, 2, 0], np.tile(groups.std(axis=0).mean(axis=-1), 4), rtol=1e-4
    )


@pytest.mark.parametrize("batch, group", [(6, 3), (2, 2), (7, 1), (1, 1), (10, 2)])
def test_minibatch_deviation_of_any_batch(batch, group):
    x = jax.random.normal(jax.random.key(batch), (batch, 2, 2, 3))
    grouped = np.asarray(x, np.float64).reshape(group, batch // group, -1)
    expected = np.tile(np.sqrt(grouped.var(axis=0) + 1e-8).mean(axis=-1), group)
    np.testing.assert_allclose(minibatch_deviation(x)[:, 0, 0, 0], expected, rtol=1e-4)
    chex.assert_tree_all_finite(jax.grad(lambda x: minibatch_deviation(x).sum())(x))


def test_the_strided_critic_by_hand():
    side, time = 4, jnp.array([0, 3])
    made = network(StridedCritic, size=(side, side), channels=1, base=2, multipliers=(1, 2), time_width=4, classes=2)
    params, buffers = made.init(jax.random.key(0))
    params = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(a.size).normal(size=a.shape), a.dtype), params)
    x, later = jax.random.normal(jax.random.key(1), (2, 2, side, side, 1))
    leaky = lambda a: np.where(a > 0, a, 0.2 * a)  # noqa: E731
    dense = lambda a, layer: a @ layer["kernel"] + layer["bias"]  # noqa: E731
    label = jnp.array([1, 0])
    embedded = leaky(dense(embed.sinusoidal(time, 4), params["time"]) + params["embedding"]["embedding"][label])
    h = np.concatenate([x, later], axis=-1)
    for conv, shift in zip(params["convs"].values(), params["times"].values(), strict=True):
        size = conv["kernel"].shape[0]
        assert size == 3  # a side of 4 is not halved
        padded = np.pad(h, [(0, 0), (1, 1), (1, 1), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        h = np.einsum("bhwiyx,yxio->bhwo", windows, conv["kernel"]) + conv["bias"]
        h = leaky(h + dense(embedded, shift)[:, None, None])
    expected = dense(h.reshape(2, -1), params["head"])[:, 0]
    np.testing.assert_allclose(made.apply(params, buffers, x, later, time, label)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side, kernels, left", [(28, (4, 4, 3), 7), (32, (4, 4, 4), 4), (8, (4, 3, 3), 4)])
def test_the_strided_critic_halves_while_it_can(side, kernels, left):
    made = network(StridedCritic, size=(side, side), channels=1, base=8, multipliers=(1, 2, 2), time_width=8)
    params, buffers = jax.eval_shape(made.init, jax.random.key(0))
    assert tuple(conv["kernel"].shape[0] for conv in params["convs"].values()) == kernels
    assert params["head"]["kernel"].shape == (16 * left**2, 1)
    x, t = jax.ShapeDtypeStruct((3, side, side, 1), jnp.float32), jax.ShapeDtypeStruct((3,), jnp.int32)
    assert jax.eval_shape(made.apply, params, buffers, x, x, t)[0].shape == (3,)


# ---- the configuration


@pytest.mark.parametrize("config", [REFERENCE, SMALL, DEEPER])
def test_configuration_is_plain_data(config):
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    again = DDGANConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    assert again == config


@pytest.mark.parametrize(
    "changes, shape, message",
    [
        ({"patch": 0}, (8, 8, 1), "patch: expected 1 or more"),
        ({"denoising_steps": 0}, (8, 8, 1), "denoising_steps: expected 1 to 100000"),
        ({"multipliers": ()}, (8, 8, 1), "multiplier"),
        ({"base": 7}, (8, 8, 1), "even"),
        ({"conditional": True}, (8, 8, 1), "labelled"),
    ],
)
def test_bad_configuration_is_named(changes, shape, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes).build(images(shape))
