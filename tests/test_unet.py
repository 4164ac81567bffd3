"""The U-Net: its published size, its sizes of image, and what each input does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.networks.unet import Attention, UNet, repeat_pixels
from gen_jax.nn.functional import network, parameter_count

tiny = functools.partial(network, UNet, base=8, multipliers=(1, 2), blocks=1, attention=(4,))


def perturbed(net, scale=0.1):
    """Parameters away from the zeros they start with."""

    @jax.jit
    def init():
        params, buffers = net.init(jax.random.key(0))
        keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(params))))
        return jax.tree.map(lambda p: p + scale * jax.random.normal(next(keys), p.shape), params), buffers

    return init()


@pytest.mark.parametrize(
    ("side", "options", "count"),
    [
        (32, {"multipliers": (1, 2, 2, 2), "attention": (16,), "dropout": 0.1}, 35_746_307),
        (256, {"multipliers": (1, 1, 2, 2, 4, 4), "attention": (16,)}, 113_673_219),
    ],
)
def test_parameter_counts_are_the_published_ones(side, options, count):
    net = network(UNet, size=(side, side), channels=3, base=128, blocks=2, **options)
    assert parameter_count(net.init) == count


def test_a_class_embedding_has_one_row_more_than_classes():
    options = {"size": (8, 8), "channels": 1, "base": 8, "multipliers": (1,), "blocks": 1, "attention": ()}
    plain, labelled = (network(UNet, **options, classes=k) for k in (0, 10))
    assert parameter_count(labelled.init) - parameter_count(plain.init) == 11 * 32


@pytest.mark.parametrize(
    ("side", "channels", "patch", "multipliers"),
    [(4, 1, 1, (1, 1)), (12, 3, 1, (1, 2, 2)), (12, 3, 2, (1, 2)), (28, 1, 2, (1, 2, 2)), (28, 1, 4, (1, 2))],
)  # fmt: skip
def test_any_square_goes_in_and_comes_out(side, channels, patch, multipliers):
    net = tiny(size=(side, side), channels=channels, patch=patch, multipliers=multipliers)
    params, buffers = jax.jit(net.init)(jax.random.key(0))
    x = jnp.ones((2, side, side, channels))
    y, _ = jax.jit(net.apply)(params, buffers, x, jnp.array([0, 999]))
    assert y.shape == x.shape
    np.testing.assert_array_equal(y, 0.0)  # the last convolution starts at zero


def test_time_and_label_reach_the_output():
    net = tiny(size=(8, 8), channels=1, classes=3)
    params, buffers = perturbed(net)
    x = jax.random.normal(jax.random.key(2), (1, 8, 8, 1))
    apply = jax.jit(lambda t, label: net.apply(params, buffers, x, jnp.full((1,), t), label)[0])
    outputs = [apply(10, jnp.array([k])) for k in range(4)] + [apply(11, jnp.array([0]))]
    for i in range(5):
        for j in range(i):
            assert jnp.abs(outputs[i] - outputs[j]).max() > 1e-4, (i, j)
    np.testing.assert_allclose(apply(10, None), outputs[3], atol=1e-5)  # no label is the last row


def test_images_do_not_see_their_batch_mates():
    net = tiny(size=(8, 8), channels=1)
    params, buffers = perturbed(net)
    x = jax.random.normal(jax.random.key(2), (3, 8, 8, 1))
    apply = jax.jit(net.apply)
    y, _ = apply(params, buffers, x, jnp.arange(3.0))
    alone, _ = apply(params, buffers, x[1:2], jnp.ones(1))
    np.testing.assert_allclose(alone, y[1:2], atol=1e-5)


def test_dropout_needs_training_and_a_key():
    net = tiny(size=(8, 8), channels=1, dropout=0.5)
    params, buffers = perturbed(net)
    x, t = jax.random.normal(jax.random.key(2), (2, 8, 8, 1)), jnp.array([3.0, 7.0])

    @functools.partial(jax.jit, static_argnames="train")
    def apply(key, train):
        return net.apply(params, buffers, x, t, key=key, train=train)[0]

    one, other = jax.random.split(jax.random.key(3))
    np.testing.assert_array_equal(apply(one, train=False), apply(other, train=False))
    np.testing.assert_array_equal(apply(one, train=True), apply(one, train=True))
    assert jnp.abs(apply(one, train=True) - apply(other, train=True)).max() > 1e-3


def test_bfloat16_tells_neighbouring_times_apart():
    """Times are embedded in float32: 998 and 999 are the same number in bfloat16."""
    net = tiny(size=(8, 8), channels=1)
    params, buffers = perturbed(net)
    low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    x = jax.random.normal(jax.random.key(2), (1, 8, 8, 1))
    at = jax.jit(lambda p, t: net.apply(p, buffers, x, jnp.full((1,), t))[0])
    assert at(low, 998.0).dtype == jnp.float32
    assert jnp.abs(at(low, 998.0) - at(low, 999.0)).max() > 0
    np.testing.assert_allclose(at(low, 998.0), at(params, 998.0), atol=0.2)


def test_attention_is_a_softmax_over_pixels():
    attention = Attention(8, rngs=nnx.Rngs(0))
    attention.output.kernel[...] = jnp.eye(8)
    x = np.asarray(jax.random.normal(jax.random.key(0), (1, 3, 3, 8)))
    h = x.reshape(9, 2, 4)  # groups of four channels
    h = ((h - h.mean((0, 2), keepdims=True)) / np.sqrt(h.var((0, 2), keepdims=True) + 1e-6)).reshape(9, 8)
    q, k, v = (h @ np.asarray(layer.kernel[...]) for layer in (attention.query, attention.key, attention.value))
    weights = np.exp(q @ k.T / np.sqrt(8))
    expected = x.reshape(9, 8) + weights / weights.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(attention(x).reshape(9, 8), expected, rtol=1e-3, atol=1e-4)


def test_repeated_pixels():
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(repeat_pixels(jnp.asarray(x), 2), x.repeat(2, axis=1).repeat(2, axis=2))
