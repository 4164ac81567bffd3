"""The diffusion model as a game: its loss, its samples, what labels and guidance do, and its bound."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import distributions, fields
from gen_jax.diffusion import training
from gen_jax.models.ddpm import REFERENCE, SMALL, DDPMConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.nn.functional import parameter_count
from gen_jax.protocol import Network

TINY = DDPMConfig(net=Denoiser(channels=8, multipliers=(1, 2), blocks=1), timesteps=20, sampling_steps=5)
DENSE = dataclasses.replace(TINY, net=Denoiser("mlp", channels=16, multipliers=(1,), blocks=1))
"""Where the network is not what is asked about."""
SHAPE = (8, 8, 1)


@functools.cache
def made(configuration=TINY, shape=SHAPE, classes=0, scale=0.0):
    """A model with parameters moved by noise of ``scale`` from where they start."""
    model = configuration.build(fields.images(shape, classes))
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda p: p + scale * rng.normal(size=p.shape).astype(np.float32), params)
    return model, moved, buffers


def with_network(configuration, shape, predict, classes=0):
    """A model whose network is a function of (x, t in 0 .. 1000, label)."""
    apply = lambda params, buffers, x, t, label=None, **_: (predict(x, t, label), buffers)  # noqa: E731
    model = dataclasses.replace(
        configuration.build(fields.images(shape, classes)), network=Network(lambda key: ({}, {}), apply)
    )
    return model, {"denoiser": {}}, {"denoiser": {}}


def images(n=16, shape=SHAPE, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (n, *shape))
    return jnp.asarray(levels / 127.5 - 1, jnp.float32)


def test_the_reference_has_the_published_size():
    model = REFERENCE.build(fields.images((32, 32, 3)))
    assert parameter_count(lambda key: model.init(key, {})) == 35_746_307
    assert model.network_evaluations == 1000


@pytest.mark.parametrize(("prediction", "expected"), [("eps", 1.0), ("x0", None), ("v", None)])
def test_loss_of_a_network_that_says_zero(prediction, expected):
    """The mean square of its target: E eps^2 = 1, E x_0^2, and E v^2 = E (alpha^2 + sigma^2 x_0^2)."""
    configuration = dataclasses.replace(TINY, prediction=prediction)
    if prediction == "eps":  # the network as it starts
        model, params, buffers = made(configuration)
    else:
        model, params, buffers = with_network(configuration, SHAPE, lambda x, t, label: jnp.zeros_like(x))
    x = images(64)
    loss = jax.jit(jax.vmap(lambda key: model.loss(params, buffers, {"image": x}, key, step=0, ema=None)[0]))
    moment = float((x**2).mean())
    alpha_bar = np.asarray(model.process.alpha(jnp.arange(20))) ** 2
    values = {"eps": 1.0, "x0": moment, "v": float((alpha_bar + (1 - alpha_bar) * moment).mean())}
    assert expected in (None, values[prediction])
    np.testing.assert_allclose(loss(jax.random.split(jax.random.key(2), 8)).mean(), values[prediction], rtol=0.01)


def test_times_of_a_batch_are_uniform_and_evenly_spread():
    draw = jax.jit(jax.vmap(lambda key: training.steps(20)(training.spread(key, 10))))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    for column in drawn.T:  # every image of a batch sees every time alike
        np.testing.assert_allclose(np.bincount(column, minlength=20) / 4000, 1 / 20, atol=0.015)
    assert (np.diff(np.sort(drawn, axis=1), axis=1) == 2).all()


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_data_of_one_image_are_sampled_exactly(prediction, sampler):
    """The right prediction is known in closed form, and every sampler must end at that image."""
    target = images(1)
    configuration = dataclasses.replace(TINY, prediction=prediction, sampler=sampler)
    reference = configuration.build(fields.images(SHAPE))

    def predict(x, t, label):
        t = jnp.round(t * 20 / 1000).astype(int)
        alpha, sigma = reference.process.at(t, x)
        return reference.prediction.target(reference.process, target, (x - alpha * target) / sigma, t)

    model, params, buffers = with_network(configuration, SHAPE, predict)
    loss, _ = model.loss(params, buffers, {"image": target.repeat(4, 0)}, jax.random.key(0), step=0, ema=None)
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    x = jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(1), 3)
    np.testing.assert_allclose(x, target.repeat(3, 0), atol=1e-3)


@pytest.mark.parametrize(("sampler", "shape"), [("ddim", (8, 8, 1)), ("ancestral", (12, 12, 3))])
def test_samples_differ_and_stay_in_range(sampler, shape):
    model, params, buffers = made(dataclasses.replace(DENSE, sampler=sampler), shape, scale=0.1)
    x = jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(3), 4)
    assert x.shape == (4, *shape)
    assert x.dtype == jnp.float32
    assert (jnp.abs(x) <= 1).all()
    assert x.std(axis=0).max() > 0.01


def test_labels_guide():
    """Scale 1 is the conditional model, 0 the unconditional one, 3 goes beyond."""
    configuration = dataclasses.replace(TINY, conditional=True, prediction="x0", guidance=3.0)
    told = lambda x, t, label: jnp.full_like(x, 0.1) * (2 if label is None else label).reshape(-1, 1, 1, 1)  # noqa: E731
    predict = lambda x, t, label: told(x, t, jnp.full(len(x), 2) if label is None else label)  # noqa: E731
    x_t, t, label = images(2), jnp.array([3, 19]), jnp.array([0, 4])
    for scale, expected in [(0.0, [0.2, 0.2]), (1.0, [0.0, 0.4]), (3.0, [-0.4, 0.8]), (9.0, [-1.0, 1.0])]:
        model, *state = with_network(dataclasses.replace(configuration, guidance=scale), SHAPE, predict, classes=5)
        assert model.network_evaluations == (5 if scale == 1.0 else 10)
        got = model.denoise(*state, x_t, t, label=label)
        np.testing.assert_allclose(got[:, 0, 0, 0], expected, atol=1e-6)
        x = model.sample(*state, jax.random.key(0), 2, label=label)
        np.testing.assert_allclose(x[:, 0, 0, 0], expected, atol=1e-5)


def test_a_class_changes_the_sample_and_none_is_any():
    configuration = dataclasses.replace(DENSE, conditional=True, guidance=2.0)
    model, params, buffers = made(configuration, SHAPE, 3, scale=0.1)
    sample = jax.jit(model.sample, static_argnums=3)
    key = jax.random.key(4)
    by_label = [sample(params, buffers, key, 2, label=jnp.full(2, k)) for k in range(3)]
    assert jnp.abs(by_label[0] - by_label[1]).max() > 0.01
    plain = dataclasses.replace(model, guidance=1.0)
    unconditional = jax.jit(plain.sample, static_argnums=3)(params, buffers, key, 2, label=jnp.full(2, 3))  # no class
    np.testing.assert_allclose(sample(params, buffers, key, 2), unconditional, atol=1e-5)


def test_labels_are_hidden_at_the_rate_that_is_asked_for():
    seen = []
    predict = lambda x, t, label: seen.append(label) or jnp.zeros_like(x)  # noqa: E731
    configuration = dataclasses.replace(TINY, conditional=True, label_dropout=0.3)
    model, *state = with_network(configuration, SHAPE, predict, classes=4)
    batch = {"image": jnp.zeros((2000, *SHAPE)), "label": jnp.ones(2000, int)}
    model.loss(*state, batch, jax.random.key(0), step=0, ema=None)
    hidden = np.asarray(seen[0]) == 4
    assert set(np.unique(seen[0])) == {1, 4}
    np.testing.assert_allclose(hidden.mean(), 0.3, atol=0.04)


def _encodable():
    """Independent N(0, 0.3^2) pixels: the exact denoiser is a multiple of x_t, and encoding has a closed form."""
    configuration = DDPMConfig(prediction="x0", sampling_steps=400, schedule="linear")
    reference = configuration.build(fields.images(SHAPE))

    def predict(x, t, label):
        alpha, sigma = reference.process.at(jnp.round(t).astype(int), x)
        return 0.09 * alpha * x / (0.09 * alpha**2 + sigma**2)

    return with_network(configuration, SHAPE, predict)


def test_encoding_is_the_quantile_map_and_decoding_its_inverse():
    model, params, buffers = _encodable()
    x = jnp.clip(0.3 * jax.random.normal(jax.random.key(0), (2, *SHAPE)), -0.9, 0.9)
    noise = jax.jit(model.encode)(params, buffers, x)
    np.testing.assert_allclose(noise, x / 0.3, rtol=0.02)
    np.testing.assert_allclose(jax.jit(model.decode)(params, buffers, noise), x, atol=0.02)


def test_interpolation_runs_along_the_arc():
    model, params, buffers = _encodable()
    ends = jnp.clip(0.3 * jax.random.normal(jax.random.key(1), (2, 3, *SHAPE)), -0.9, 0.9)
    between = jax.jit(model.interpolate)(params, buffers, ends[0], ends[1], jnp.array([0.0, 0.5, 1.0]))
    assert between.shape == (3, 3, *SHAPE)
    np.testing.assert_allclose(between[:, 0], ends[0], rtol=0.05, atol=1e-3)
    np.testing.assert_allclose(between[:, 2], ends[1], rtol=0.05, atol=1e-3)
    norms = jnp.sqrt((between**2).sum((2, 3, 4)))  # halfway, as long as the ends: a line would be shorter
    np.testing.assert_allclose(norms[:, 1], norms[:, [0, 2]].mean(1), rtol=0.05)


def test_bound_terms_add_up_and_some_of_them_estimate_all():
    half = lambda x, t, label: 0.5 * x  # noqa: E731
    model, params, buffers = with_network(dataclasses.replace(TINY, variance="small"), SHAPE, half)
    batch = {"image": images(4)}
    keys = jax.random.split(jax.random.key(5), 100)
    every = jax.jit(jax.vmap(lambda key: model.evidence(params, buffers, key, batch)))(keys)
    assert all((term > 0).all() for term in every)
    np.testing.assert_allclose(every.total, every.prior + every.steps + every.decoder, rtol=1e-6)
    np.testing.assert_allclose(model.log_prob(params, buffers, keys[0], batch), -every.total[0], rtol=1e-4)
    some, *_ = with_network(dataclasses.replace(TINY, variance="small", bound_terms=6), SHAPE, half)
    estimate = -jax.jit(jax.vmap(lambda key: some.log_prob(params, buffers, key, batch)))(keys)
    error = estimate.std(0) / np.sqrt(len(keys))
    assert (jnp.abs(estimate.mean(0) - every.total.mean(0)) < 4 * error + 0.01 * every.total.mean(0)).all()


def test_bound_of_a_model_that_knows_the_image_is_small():
    """Bits: what is left is the decoder, one grey level of 256 where its spread is a fraction of a level."""
    target = images(1)
    configuration = DDPMConfig(prediction="x0", timesteps=200, schedule="cosine")
    model, params, buffers = with_network(configuration, SHAPE, lambda x, t, label: jnp.broadcast_to(target, x.shape))
    log_prob = jax.jit(model.log_prob)(params, buffers, jax.random.key(0), {"image": target})
    assert 0 < distributions.bits_per_dim(log_prob, SHAPE)[0] < 3.0
    other = jax.jit(model.log_prob)(params, buffers, jax.random.key(0), {"image": images(1, seed=1)})
    assert distributions.bits_per_dim(other, SHAPE)[0] > 50


@pytest.mark.slow
def test_it_learns():
    """Two images, and one class each: after a hundred steps it draws the one it is asked for."""
    configuration = DDPMConfig(
        net=Denoiser(channels=16, multipliers=(1, 1), blocks=1),
        timesteps=100,
        sampling_steps=10,
        conditional=True,
        label_dropout=0.0,
    )
    model, params, buffers = made(configuration, SHAPE, 2)
    rows = jnp.where(jnp.arange(8) < 4, 0.8, -0.8)
    pair = jnp.stack([jnp.broadcast_to(rows[:, None], (8, 8)), jnp.broadcast_to(rows[None], (8, 8))])[..., None]
    batch = {"image": pair.repeat(8, 0), "label": jnp.arange(2).repeat(8)}
    optimizer = optax.adam(3e-3)

    @jax.jit
    def train(params):
        def step(carry, i):
            params, opt = carry
            loss, gradient = jax.value_and_grad(
                lambda p: model.loss(p, buffers, batch, jax.random.fold_in(jax.random.key(7), i), step=i, ema=None)[0]
            )(params)
            updates, opt = optimizer.update(gradient, opt)
            return (optax.apply_updates(params, updates), opt), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(150))

    (params, _), losses = train(params)
    assert losses[-20:].mean() < 0.15 * losses[0]
    label = jnp.array([0, 1, 0, 1])
    x = jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(8), 4, label=label)
    assert jnp.abs(x - pair[label]).mean() < 0.15


def test_bfloat16_parameters_give_a_float32_loss():
    model, params, buffers = made()
    low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    loss, _ = jax.jit(lambda p: model.loss(p, buffers, {"image": images()}, jax.random.key(0), step=0, ema=None))(low)
    assert loss.dtype == jnp.float32
    assert jnp.isfinite(loss)


def test_configurations_are_plain_data():
    for configuration in (TINY, SMALL, REFERENCE):
        fields = json.loads(json.dumps(dataclasses.asdict(configuration)))
        assert DDPMConfig(**fields) == configuration


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({"net": Denoiser("vdm")}, SHAPE, "expected a network of 'unet', .*, got 'vdm'"),
        ({"net": {"channels": 7}}, SHAPE, "net.channels: expected an even number"),
        ({"net": Denoiser("dit")}, SHAPE, "multipliers"),
        ({"sampling_steps": 21}, SHAPE, "21 different times"),
        ({"conditional": True}, SHAPE, "labelled data"),
        ({"bound_terms": -1}, SHAPE, "bound_terms: expected 0 or more"),
        ({"timesteps": 1}, SHAPE, "timesteps: expected 2 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(change, shape, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change).build(fields.images(shape))
