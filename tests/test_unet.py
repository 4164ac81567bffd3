"""The U-Net of DDPM in its parts; its size and its laws are in test_diffusion_networks.py."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gen_jax.networks.unet import Attention, UNet, repeat_pixels
from gen_jax.nn.functional import network, parameter_count


def test_a_class_embedding_has_one_row_more_than_classes():
    options = {"size": (8, 8), "channels": 1, "base": 8, "multipliers": (1,), "blocks": 1, "attention": ()}
    plain, labelled = (network(UNet, **options, classes=k) for k in (0, 10))
    assert parameter_count(labelled.init) - parameter_count(plain.init) == 11 * 32


def test_bfloat16_tells_neighbouring_times_apart():
    """Times are embedded in float32: 998 and 999 are the same number in bfloat16."""
    net = network(UNet, size=(8, 8), channels=1, base=8, multipliers=(1, 2), blocks=1, attention=(4,))
    params, buffers = jax.jit(net.init)(jax.random.key(0))
    rng = np.random.default_rng(1)  # away from the zeros they start with
    low = jax.tree.map(lambda p: (p + 0.1 * rng.normal(size=p.shape)).astype(jnp.bfloat16), params)
    x = jax.random.normal(jax.random.key(2), (1, 8, 8, 1))
    at = jax.jit(lambda t: net.apply(low, buffers, x, jnp.full((1,), t))[0])
    assert jnp.abs(at(998.0) - at(999.0)).max() > 0


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
