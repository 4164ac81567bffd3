"""Convolutions over NHWC images.

A 1x1 convolution is a matrix product over all pixels and is written as one: on a CPU its gradients cost a half to a
third of what they cost as a convolution, elsewhere it compiles to the same. All other shapes are left to the compiler,
whose kernels and gradients were as fast in a train step as patch matrices, shifted products or sub-pixel kernels over
the sizes used here.

``ConvTranspose`` follows the adjoint convention: with padding ``p`` it is the transpose of the stride-``s``
convolution padded by ``p``, so an input of side ``n`` gives ``(n - 1) s - 2 p + k``. Along either axis

    y[u] = sum_h x[h] kernel[s h - u + k - 1 - p]                                                          (1)

Of two ways to write it, one is computed and the other differentiated in the kernel. The gradient of the first is a
convolution of the image by a window larger than it, the gradient of the output: XLA changes the two over and reads the
window backwards, for which a CPU has but a plain loop, at a tenth of the speed. That of the second has the larger one
for its image. The derivatives, of any order and in either mode, are the same. Elsewhere the second was not measured,
and the first serves for both.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.custom_derivatives import SymbolicZero

Padding = str | int | Sequence[tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """Cross-correlation of ``x [B, H, W, I]`` with ``kernel [h, w, I, O]``.

    ``padding`` is ``"SAME"`` (on even sides with stride 2, one more on the right and bottom), ``"VALID"``, a number
    of pixels on every side, or ``[(top, bottom), (left, right)]``.
    """
    if isinstance(padding, int):
        padding = [(padding, padding)] * 2
    if kernel.shape[:2] == (1, 1) and stride == 1 and not _pads(padding):
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_LAYOUT)


def convolve_transpose(x: jax.Array, kernel: jax.Array, *, stride: int = 2, padding: int = 1) -> jax.Array:
    """Transposed convolution of ``x [B, H, W, I]`` with ``kernel [k, k, I, O]``; sides ``(H - 1) s - 2 p + k``."""
    return _transposed(stride, padding, x, kernel)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _transposed(stride: int, padding: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(1), as a convolution of the image, with zeros between its pixels, by the kernel."""
    outer = kernel.shape[0] - 1 - padding
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(outer, outer)] * 2, lhs_dilation=(stride, stride), dimension_numbers=_LAYOUT
    )


def _of_kernel(stride: int, padding: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(1), as a convolution of the kernel by the image, with zeros between its pixels, read backwards."""
    outer = [((side - 1) * stride - padding,) * 2 for side in x.shape[1:3]]
    y = jax.lax.conv_general_dilated(
        kernel, x, (1, 1), outer, rhs_dilation=(stride, stride), dimension_numbers=("HWCN", "OHWI", "CHWN")
    )
    return jnp.flip(y, (1, 2))


@functools.partial(_transposed.defjvp, symbolic_zeros=True)
def _transposed_jvp(stride: int, padding: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x, kernel), (dx, dkernel) = primals, tangents
    parts = []
    if not isinstance(dx, SymbolicZero):
        parts.append(_transposed(stride, padding, dx, kernel))
    if not isinstance(dkernel, SymbolicZero):
        of_kernel, of_image = (functools.partial(f, stride, padding) for f in (_of_kernel, _transposed))
        parts.append(jax.lax.platform_dependent(x, dkernel, cpu=of_kernel, default=of_image))
    return _transposed(stride, padding, x, kernel), sum(parts[1:], parts[0])


def _pads(padding: Padding) -> bool:
    return not isinstance(padding, str | int) and any(any(side) for side in padding)


class Conv(nnx.Module):
    """A convolution with a square kernel: ``[B, H, W, inputs] -> [B, H', W', outputs]``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: Padding = "SAME",
        use_bias: bool = True,
        kernel_init: nnx.Initializer = nnx.initializers.lecun_normal(),
        rngs: nnx.Rngs,
    ):
        self.stride, self.padding = stride, padding
        self.kernel = nnx.Param(kernel_init(rngs.params(), (kernel, kernel, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,))) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, inputs] -> [B, H', W', outputs]``."""
        y = convolve(x, self.kernel[...], stride=self.stride, padding=self.padding)
        return y if self.bias is None else y + self.bias[...]


class ConvTranspose(nnx.Module):
    """The adjoint of a strided convolution: ``[B, H, W, inputs] -> [B, (H - 1) s - 2 p + k, ..., outputs]``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 4,
        *,
        stride: int = 2,
        padding: int = 1,
        use_bias: bool = True,
        kernel_init: nnx.Initializer = nnx.initializers.lecun_normal(),
        rngs: nnx.Rngs,
    ):
        self.stride, self.padding = stride, padding
        self.kernel = nnx.Param(kernel_init(rngs.params(), (kernel, kernel, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,))) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, inputs] -> [B, H', W', outputs]``."""
        y = convolve_transpose(x, self.kernel[...], stride=self.stride, padding=self.padding)
        return y if self.bias is None else y + self.bias[...]
