"""Convolutions over NHWC images.

A 1x1 convolution is a matrix product over all pixels and is written as one: on a CPU its gradients cost a half to a
third of what they cost as a convolution, elsewhere it compiles to the same. All other shapes are left to the compiler,
whose kernels and gradients (XLA's, with YNNPACK on a CPU) were as fast in a train step as patch matrices, shifted
products or sub-pixel kernels over the sizes used here.

``ConvTranspose`` follows the adjoint convention: with padding ``p`` it is the transpose of the stride-``s``
convolution padded by ``p``, so an input of side ``n`` gives ``(n - 1) s - 2 p + k``.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

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
    outer = kernel.shape[0] - 1 - padding
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(outer, outer)] * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )


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
