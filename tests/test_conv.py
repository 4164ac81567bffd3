"""Convolutions: against sums written out in numpy, and gradients of first and second order against finite sums."""

import functools
import itertools
import os
import re
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.nn.conv import Conv, ConvTranspose, convolve, convolve_transpose
from tests.tiers import mostly_slow

SHAPES = [
    # side, inputs, outputs, kernel, stride, padding
    (6, 3, 4, 1, 1, "SAME"),
    (6, 3, 4, 1, 1, 0),
    (6, 3, 4, 1, 1, 1),
    (6, 3, 4, 1, 2, "SAME"),
    (6, 1, 2, 3, 1, "SAME"),
    (7, 2, 3, 3, 2, "SAME"),
    (6, 2, 3, 3, 2, "SAME"),
    (8, 2, 1, 4, 2, 1),
    (7, 3, 2, 3, 1, "VALID"),
    (5, 2, 3, 2, 1, [(1, 0), (0, 1)]),
]


def _padding(side: int, kernel: int, stride: int, padding) -> list[tuple[int, int]]:
    if padding == "VALID":
        return [(0, 0)] * 2
    if padding == "SAME":
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return [(total // 2, total - total // 2)] * 2
    return [(padding, padding)] * 2 if isinstance(padding, int) else padding


def _numpy_convolve(x, w, stride, padding):
    k = w.shape[0]
    x = np.pad(x, [(0, 0), *_padding(x.shape[1], k, stride, padding), (0, 0)])
    rows, columns = ((n - k) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((x.shape[0], rows, columns, w.shape[-1]))
    for i, j in itertools.product(range(rows), range(columns)):
        patch = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
        y[:, i, j] = np.einsum("bhwi,hwio->bo", patch, w)
    return y


def _numpy_convolve_transpose(x, w, stride, padding):
    b, n, _, _ = x.shape
    k, outputs = w.shape[0], w.shape[-1]
    side = (n - 1) * stride + k
    y = np.zeros((b, side, side, outputs))
    for i, j in itertools.product(range(n), range(n)):  # every pixel paints one kernel
        stamp = np.einsum("bi,hwio->bhwo", x[:, i, j], w[::-1, ::-1])
        y[:, i * stride : i * stride + k, j * stride : j * stride + k] += stamp
    return y[:, padding : side - padding, padding : side - padding]


def _arrays(side, inputs, outputs, kernel, seed=0):
    r = np.random.default_rng(seed)
    x = r.standard_normal((2, side, side, inputs)).astype(np.float32)
    return x, r.standard_normal((kernel, kernel, inputs, outputs)).astype(np.float32)


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_convolve_is_the_sum_over_patches(case):
    side, inputs, outputs, kernel, stride, padding = case
    x, w = _arrays(side, inputs, outputs, kernel)
    y = jax.jit(lambda x, w: convolve(x, w, stride=stride, padding=padding))(x, w)
    np.testing.assert_allclose(y, _numpy_convolve(x, w, stride, padding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (4, 1, 0), (3, 2, 1), (5, 2, 2), (2, 2, 0)])
def test_transposed_convolution_paints_kernels(kernel, stride, padding):
    x, w = _arrays(4, 3, 2, kernel)
    y = jax.jit(lambda x, w: convolve_transpose(x, w, stride=stride, padding=padding))(x, w)
    np.testing.assert_allclose(y, _numpy_convolve_transpose(x, w, stride, padding), rtol=1e-4, atol=1e-4)


def test_transposed_convolution_is_the_adjoint():
    """<conv(a), b> = <a, conv_transpose(b)> with the kernel turned round."""
    a, w = _arrays(8, 2, 3, 4)
    b = np.random.default_rng(1).standard_normal((2, 4, 4, 3)).astype(np.float32)
    turned = w[::-1, ::-1].swapaxes(2, 3)
    left = jnp.vdot(convolve(a, w, stride=2, padding=1), b)
    np.testing.assert_allclose(left, jnp.vdot(a, convolve_transpose(b, turned)), rtol=1e-4)


def _xla_transpose(x, w, *, stride, padding):
    """The same sum, with the derivatives that XLA has for it."""
    outer = [(w.shape[0] - 1 - padding,) * 2] * 2
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), outer, lhs_dilation=(stride, stride), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("kernel", mostly_slow([2, 3, 4, 5], 3, 4))
def test_transposed_convolution_is_xlas_own_to_second_order_in_either_mode_and_over_batches(kernel):
    r = np.random.default_rng(kernel)
    x, dx = (r.standard_normal((2, 2, 4, 3, 2)) for _ in range(2))  # two batches of two rectangular images
    w, dw = (r.standard_normal((2, kernel, kernel, 2, 3)) for _ in range(2))

    def everything(transpose, x, w, dx, dw):
        found = []
        for stride, padding in itertools.product((1, 2, 3), (0, kernel // 2)):
            call = functools.partial(transpose, stride=stride, padding=padding)
            slope = jax.grad(lambda x, w, call=call: jnp.tanh(call(x, w)).sum(), (0, 1))
            penalty = jax.grad(lambda x, w, slope=slope: sum(jnp.tanh(s).sum() for s in slope(x, w)), (0, 1))
            one = (x[0], w[0]), (dx[0], dw[0])
            found += [penalty(*one[0]), jax.jvp(slope, *one)]
            found += [jax.jvp(call, *one), jax.linearize(lambda x, w=w, call=call: call(x, w[0]), x[0])[1](dx[0])]
            found += [jax.vmap(jax.vmap(slope, (None, 0)), (0, None))(x, w)]
        return found

    with jax.enable_x64(True):
        ours, xlas = (
            jax.jit(functools.partial(everything, transpose))(x, w, dx, dw)
            for transpose in (convolve_transpose, _xla_transpose)
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(xlas), strict=True):
            assert a.dtype == b.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(b).max())


def test_transposed_convolutions_gradient_reads_no_window_backwards_on_a_cpu_and_is_xlas_own_elsewhere():
    x, w = jnp.ones((2, 7, 7, 3)), jnp.ones((4, 4, 3, 2))
    ours, xlas = (
        jax.jit(jax.grad(lambda x, w, f=f: jnp.tanh(f(x, w, stride=2, padding=1)).sum(), (0, 1))).trace(x, w)
        for f in (convolve_transpose, _xla_transpose)
    )
    assert "rhs_reversal" in xlas.lower().compile().as_text()  # the plain loop
    assert "rhs_reversal" not in ours.lower().compile().as_text()
    for platform in ("tpu", "cuda"):
        a, b = (
            sorted(
                re.findall(r"dim_numbers = .*? window = {.*?}", traced.lower(lowering_platforms=(platform,)).as_text())
            )
            for traced in (ours, xlas)
        )
        assert a == b and len(a) == 3


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_gradients_to_second_order(case):
    """The map is bilinear: its gradients are differences, exact at any step; likewise a gradient penalty's."""
    side, inputs, outputs, kernel, stride, padding = case
    x, w = _arrays(side, inputs, outputs, kernel)
    dx, dw = _arrays(side, inputs, outputs, kernel, seed=1)
    g = _numpy_convolve(*_arrays(side, inputs, outputs, kernel, seed=2), stride, padding)

    def value(x, w):
        return jnp.vdot(convolve(x, w, stride=stride, padding=padding), g)

    def slope(x, w):
        return jax.grad(lambda x: jnp.sum(jnp.tanh(convolve(x, w, stride=stride, padding=padding))))(x)

    def penalty(w):
        return 0.5 * jnp.sum(slope(x.astype(np.float64), w) ** 2)

    got_x, got_w = jax.jit(jax.grad(value, (0, 1)))(x, w)
    np.testing.assert_allclose(
        jnp.vdot(got_x, dx), np.vdot(_numpy_convolve(dx, w, stride, padding), g), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        jnp.vdot(got_w, dw), np.vdot(_numpy_convolve(x, dw, stride, padding), g), rtol=1e-3, atol=1e-3
    )
    with jax.enable_x64(True):
        w, dw, h = w.astype(np.float64), dw.astype(np.float64), 1e-5
        got = np.vdot(jax.grad(penalty)(w), dw)
        np.testing.assert_allclose(got, (penalty(w + h * dw) - penalty(w - h * dw)) / (2 * h), rtol=1e-5)


def test_vmap_over_kernels_and_bfloat16():
    x, w = _arrays(6, 3, 4, 1)
    many = np.stack([w, 2 * w])
    y = jax.jit(jax.vmap(convolve, (None, 0)))(x, many)
    np.testing.assert_allclose(y[1], 2 * convolve(x, w), rtol=1e-5)
    low = jax.jit(convolve)(jnp.asarray(x, jnp.bfloat16), jnp.asarray(w, jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), convolve(x, w), rtol=0.05, atol=0.05)


def test_modules_add_their_bias_and_know_their_sizes():
    x, _ = _arrays(6, 3, 4, 3)
    conv = Conv(3, 4, 3, stride=2, rngs=nnx.Rngs(0))
    conv.bias[...] = jnp.arange(4.0)
    expected = _numpy_convolve(x, np.asarray(conv.kernel[...]), 2, "SAME") + np.arange(4)
    np.testing.assert_allclose(conv(x), expected, rtol=1e-4, atol=1e-4)
    up = ConvTranspose(3, 5, rngs=nnx.Rngs(0))
    chex.assert_shape(up(x), (2, 12, 12, 5))
    up.bias[...] = jnp.ones(5)
    np.testing.assert_allclose(
        up(x), 1 + _numpy_convolve_transpose(x, np.asarray(up.kernel[...]), 2, 1), rtol=1e-4, atol=1e-4
    )


_SHARDED = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from gen_jax.nn.conv import convolve, convolve_transpose
assert jax.device_count() == 8
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
r = np.random.default_rng(0)
shapes = [(16, 8, 8, 3), (1, 1, 3, 5), (3, 3, 5, 4), (4, 4, 4, 2)]
x, v, w, u = (r.standard_normal(s).astype(np.float32) for s in shapes)
def loss(x, v, w, u):
    return (convolve_transpose(convolve(convolve(x, v), w, stride=2), u) ** 2).sum()
step = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
one = step(x, v, w, u)
split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
many = step(jax.device_put(x, split), *(jax.device_put(a, whole) for a in (v, w, u)))
for a, b in zip(one, many):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2)
assert many[0].sharding.spec == P("data"), many[0].sharding
print("same on eight")
"""


def test_gradients_are_the_same_on_eight_devices():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", _SHARDED], env=environment, capture_output=True, text=True)
    assert "same on eight" in run.stdout, run.stderr
