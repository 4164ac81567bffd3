"""Denoisers from plain data: shapes of all, the perceptron by formula, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import REAL, SYMBOL, Field
from gen_jax.models import DDPMConfig, EDMConfig, FlowMatchingConfig, ScoreSDEConfig
from gen_jax.networks.denoisers import NETWORKS, Denoiser
from gen_jax.nn.functional import parameter_count
from gen_jax.settings import configuration_from, describe_configuration

FLAT = {"channels": 8, "multipliers": (1,), "blocks": 2}
MLP = Denoiser("mlp", **FLAT)


def random_weights(net):
    def value(leaf):
        draw = np.random.default_rng(leaf.size).normal(size=leaf.shape)
        return jnp.asarray(draw / np.sqrt(max(np.prod(leaf.shape[:-1]), 1)), leaf.dtype)

    return jax.tree.map(value, jax.eval_shape(net.init, jax.random.key(0)))


@pytest.mark.parametrize("size", [(8, 8), (6, 9)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_back_what_it_takes(name, size):
    outputs = {} if name == "vdm" else {"outputs": 2}
    net = Denoiser(name, **FLAT).build((*size, 3), 4, **outputs)
    params, buffers = jax.eval_shape(net.init, jax.random.key(0))
    x, t, label = jnp.zeros((2, *size, 3)), jnp.zeros(2), jnp.array([1, 4])
    y, _ = jax.eval_shape(net.apply, params, buffers, x, t, label)
    assert y.shape == (2, *size, outputs.get("outputs", 3)) and y.dtype == jnp.float32


@pytest.mark.parametrize("patch", [1, 2, 3])
@pytest.mark.parametrize("name", ["unet", "dit"])
def test_patches_need_not_divide_the_sides(name, patch):
    net = Denoiser(name, **FLAT, patch=patch).build((7, 10, 1), 0)
    params, buffers = jax.eval_shape(net.init, jax.random.key(0))
    x, t = jnp.zeros((2, 7, 10, 1)), jnp.zeros(2)
    assert jax.eval_shape(net.apply, params, buffers, x, t)[0].shape == x.shape


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4, 1), (4, 4, 2)], ids=str)
def test_the_perceptron_takes_any_shape(shape):
    net, doubled = MLP.build(shape, 3), MLP.build(shape, 3, outputs=7)
    x, t, label = jnp.ones((2, *shape)), jnp.array([1.0, 2.0]), jnp.array([0, 3])
    y, _ = net.apply(*net.init(jax.random.key(0)), x, t, label)
    np.testing.assert_array_equal(y, np.zeros((2, *shape)))  # the last layer starts at zero
    assert doubled.apply(*doubled.init(jax.random.key(0)), x, t)[0].shape == (2, *shape[:-1], 7)
    width, numbers = 8, int(np.prod(shape))
    embedding, block = 2 * (width**2 + width) + 4 * width, 3 * width**2 + 4 * width
    assert parameter_count(net.init) == embedding + 2 * block + 2 * width + 2 * width * numbers + width + numbers


def test_the_perceptron_by_hand():
    net = MLP.build((2, 3), 2)
    params, buffers = random_weights(net)
    x = np.random.default_rng(0).normal(size=(3, 2, 3))
    t, label = np.array([0.0, 10.0, 500.0]), np.array([0, 1, 2])  # the last is no class
    silu = lambda a: a / (1 + np.exp(-a))  # noqa: E731
    dense = lambda a, p: a @ np.asarray(p["kernel"]) + np.asarray(p.get("bias", 0.0))  # noqa: E731

    def norm(a, p):
        centred = a - a.mean(-1, keepdims=True)
        return centred / np.sqrt(a.var(-1, keepdims=True) + 1e-6) * np.asarray(p["scale"]) + np.asarray(p["bias"])

    angles = t[:, None] * 1e4 ** (-np.arange(4) / 3)
    told = params["embedding"]
    condition = dense(silu(dense(np.concatenate([np.sin(angles), np.cos(angles)], -1), told["first"])), told["second"])
    condition = silu(condition + np.asarray(told["table"])[label])
    h = dense(x.reshape(3, 6), params["stem"])
    for block in params["blocks"].values():
        inner = dense(silu(norm(h, block["norm"])), block["inner"]) + dense(condition, block["shift"])
        h = h + dense(silu(inner), block["outer"])
    expected = dense(silu(norm(h, params["norm"])), params["output"]).reshape(3, 2, 3)
    got, _ = jax.jit(net.apply)(params, buffers, x, t, label)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    without, _ = jax.jit(net.apply)(params, buffers, x, t)  # no label is the row beyond the classes
    np.testing.assert_allclose(without[2], expected[2], rtol=1e-3, atol=1e-4)


def test_the_perceptron_drops_in_training():
    net = Denoiser("mlp", **FLAT, dropout=0.5).build((6,), 0)
    params, buffers = random_weights(net)
    x, t = jnp.ones((4, 6)), jnp.arange(4.0)
    run = lambda key, train: net.apply(params, buffers, x, t, key=jax.random.key(key), train=train)[0]  # noqa: E731
    np.testing.assert_array_equal(run(0, False), run(1, False))
    np.testing.assert_array_equal(run(0, True), run(0, True))
    assert jnp.abs(run(0, True) - run(1, True)).max() > 1e-3


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({"network": "vdm"}, (8, 8, 1), r"multipliers \(1,\)"),
        (FLAT, (5,), r"images \[H, W, C\] for network 'unet', got \[5\]; 'mlp'"),
        ({"network": "dit", **FLAT}, (3, 8, 8, 1), "images"),
        ({"network": "mlp"}, (5,), "multipliers"),
        ({"network": "mlp", **FLAT, "patch": 2}, (5,), "patch 1"),
        ({"network": "resnet"}, (8, 8, 1), "network: expected unet, "),
        ({"channels": 7}, (8, 8, 1), "channels: expected an even number"),
        ({"channels": 2}, (8, 8, 1), "channels: expected 4 or more"),
        ({"multipliers": ()}, (8, 8, 1), "multipliers: expected at least one"),
        ({"multipliers": (0,)}, (8, 8, 1), "multipliers: expected 1 or more"),
        ({"blocks": 0}, (8, 8, 1), "blocks: expected 1 to 1000"),
        ({"dropout": 1.0}, (8, 8, 1), "dropout: expected 0 to 1 without 1"),
        ({"patch": 0}, (8, 8, 1), "patch: expected 1 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, shape, message):
    with pytest.raises(ValueError, match=message):
        Denoiser(**fields).build(shape, 0)


POINTS = {"x": Field((5,), REAL), "label": Field((), SYMBOL, 3)}
OF_POINTS = [
    DDPMConfig(MLP, timesteps=8, sampling_steps=2, conditional=True),
    ScoreSDEConfig(MLP, path="ve", sampling_steps=2, conditional=True),
    EDMConfig(MLP, sampling_steps=2, conditional=True),
    FlowMatchingConfig(MLP, sampling_steps=2),
]


@pytest.mark.parametrize("configuration", OF_POINTS, ids=lambda c: type(c).__name__)
def test_diffusions_of_points(configuration):
    model = configuration.build(POINTS)
    batch = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32), "label": jnp.arange(4) % 3}
    told = {"label": batch["label"]} if model.given else {}

    def once(key):
        params, buffers = model.init(key, batch)
        loss, _ = model.turns[0].loss(params, buffers, batch, key, step=0, ema=None)
        return loss, model.sample(params, buffers, key, 4, **told)

    loss, drawn = jax.jit(once)(jax.random.key(0))
    assert jnp.isfinite(loss) and drawn.shape == (4, 5) and jnp.isfinite(drawn).all()
    with pytest.raises(ValueError, match="'mlp' takes these"):
        dataclasses.replace(configuration, net=Denoiser(**FLAT)).build(POINTS)


@pytest.mark.parametrize("configuration", OF_POINTS, ids=lambda c: type(c).__name__)
def test_a_nested_network_survives_json(configuration):
    described = json.loads(json.dumps(describe_configuration(configuration)))
    assert configuration_from(described) == configuration


def test_a_model_that_does_not_offer_a_network_lists_those_it_does():
    assert Denoiser("dit").among({"unet": 1, "dit": 2}) == 2
    with pytest.raises(ValueError, match="expected a network of 'unet', 'dit', got 'vdm'"):
        Denoiser("vdm").among({"unet": 1, "dit": 2})
