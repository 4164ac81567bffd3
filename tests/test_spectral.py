"""Spectral normalisation against numpy's singular values, the paper's gradient, and kernels that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.nn.batch_norm import ClassBatchNorm
from gen_jax.nn.spectral import SpectralConv, SpectralEmbed, SpectralLinear, SpectralNorm


def gapped(rows, columns, values=(3.0, 1.0, 0.5), seed=0):
    """A matrix of known singular values."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, len(values))))[0] for n in (rows, columns))
    return (left * values @ right.T).astype(np.float32)


def matrix(layer):
    kernel = np.asarray((layer.table if hasattr(layer, "table") else layer.kernel)[...])
    return kernel.reshape(-1, kernel.shape[-1])


LAYERS = {
    "dense": lambda: SpectralLinear(5, 8, rngs=nnx.Rngs(0)),
    "embedding": lambda: SpectralEmbed(4, 7, rngs=nnx.Rngs(0)),
    "convolution": lambda: SpectralConv(2, 6, rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kernel_has_a_largest_singular_value_of_one(kind):
    """As a matrix of as many columns as outputs, none of them square."""
    layer = LAYERS[kind]()
    parameter = layer.table if kind == "embedding" else layer.kernel
    parameter[...] = jnp.asarray(gapped(*matrix(layer).shape).reshape(parameter.shape))
    normed = jax.jit(lambda norm, k: [norm(k, train=True) for _ in range(40)][-1])
    kernel = np.asarray(normed(layer.norm, parameter[...])).reshape(matrix(layer).shape)
    np.testing.assert_allclose(np.linalg.svd(kernel, compute_uv=False)[:3], [1, 1 / 3, 1 / 6], rtol=1e-3)


def test_a_layer_begins_near_its_singular_value():
    kernel = jnp.asarray(gapped(9, 4))
    normed = SpectralNorm(kernel, rngs=nnx.Rngs(0))(kernel, train=False)
    np.testing.assert_allclose(np.linalg.svd(np.asarray(normed), compute_uv=False)[0], 1, rtol=1e-4)


def test_a_diagonal_kernel_is_exact():
    kernel = jnp.diag(jnp.array([4.0, 1.0, 0.1]))
    norm = SpectralNorm(kernel, rngs=nnx.Rngs(1))
    np.testing.assert_allclose(norm(kernel, train=True), kernel / 4, rtol=1e-6)


def test_u_moves_in_training_alone():
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)
    norm = SpectralNorm(kernel, rngs=nnx.Rngs(0))
    before, other = np.asarray(norm.u[...]), kernel[::-1] * 2
    norm(other, train=False)
    np.testing.assert_array_equal(norm.u[...], before)
    norm(other, train=True)
    rows = np.asarray(other, np.float64).T
    u = rows @ (rows.T @ before)
    np.testing.assert_allclose(norm.u[...], u / np.linalg.norm(u), rtol=1e-4)


def test_the_gradient_is_that_of_the_paper():
    kernel = jnp.asarray(gapped(6, 5))
    norm = SpectralNorm(kernel, rngs=nnx.Rngs(0))
    weight = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)  # G of the loss <G, W / sigma>
    found = jax.grad(lambda k: (norm(k, train=False) * weight).sum())(kernel)
    left, values, right = np.linalg.svd(np.asarray(kernel, np.float64), full_matrices=False)
    inner = (weight * kernel / values[0]).sum()
    np.testing.assert_allclose(found, (weight - inner * np.outer(left[:, 0], right[0])) / values[0], atol=1e-4)


def test_bfloat16_kernels_are_divided_by_what_float32_says():
    kernel = jnp.asarray(gapped(40, 30))
    norm = SpectralNorm(kernel, rngs=nnx.Rngs(0))
    half = norm(kernel.astype(jnp.bfloat16), train=True)
    assert half.dtype == jnp.bfloat16 and norm.u[...].dtype == jnp.float32
    np.testing.assert_allclose(half.astype(jnp.float32), kernel / 3, atol=0.02)


def test_scale_and_shift_are_those_of_the_class():
    norm = ClassBatchNorm(2, classes=3, rngs=nnx.Rngs(0))
    draw = np.random.default_rng(0).normal
    x, label = draw(2, 3, size=(6, 4, 5, 2)).astype(np.float32), np.arange(6) % 3
    norm.scale[...], norm.bias[...] = scale, shift = draw(size=(2, 3, 2)).astype(np.float32)
    normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    expected = normal * scale[label][:, None, None] + shift[label][:, None, None]
    np.testing.assert_allclose(norm(x, label, train=True), expected, atol=1e-4)
    # Behind the batch there is 0.9 of the beginning.
    mean, variance = 0.1 * x.mean((0, 1, 2)), 0.9 + 0.1 * x.var((0, 1, 2))
    past = (x - mean) / np.sqrt(variance + 1e-5) * scale[label][:, None, None] + shift[label][:, None, None]
    np.testing.assert_allclose(norm(x, label, train=False), past, atol=1e-4)
