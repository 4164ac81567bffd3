"""Residual blocks of U-Nets.

He et al. 2016 (arXiv:1603.05027), in the form of Ho, Jain and Abbeel 2020 (arXiv:2006.11239); with a change of
resolution inside, Brock, Donahue and Simonyan 2019 (arXiv:1809.11096).

    h = conv(resample(silu(norm(x, style)))) + W shift                                                         (1)
    y = gain (shortcut(resample(x)) + conv(dropout(silu(norm(h, style)))))                                     (2)

The shortcut is a 1x1 convolution where the width changes. The last convolution starts at zero.
"""

from collections.abc import Callable

import jax
from flax import nnx

from gen_jax.nn.conv import Conv
from gen_jax.nn.ladder import Condition
from gen_jax.nn.layers import WEIGHTS, ZERO, dropped

Resample = Callable[[jax.Array], jax.Array]  # [B, H, W, C] -> [B, H', W', C]


class ResidualBlock(nnx.Module):
    """(1) and (2): ``[B, H, W, inputs] -> [B, H', W', outputs]``.

    Args:
      inputs: channels that come in.
      outputs: channels that go out.
      norms: the two normalisations, of ``inputs`` and of ``outputs`` channels, called ``norm(x, style)``.
      shift: the map W of (1), if any.
      resample: of both branches, None to keep the resolution.
      projected: whether the shortcut is a convolution even where the width stays.
      gain: factor of the sum (2).
      dropout: share of activations dropped in training.
      kernel_init: of all weights that do not start at zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        norms: tuple[nnx.Module, nnx.Module],
        shift: nnx.Linear | None = None,
        resample: Resample | None = None,
        projected: bool = False,
        gain: float = 1.0,
        dropout: float = 0.0,
        kernel_init: nnx.Initializer = WEIGHTS,
        rngs: nnx.Rngs,
    ):
        self.resample, self.gain, self.dropout = resample, gain, dropout
        self.norm_in, self.norm_out = norms
        self.conv_in = Conv(inputs, outputs, kernel_init=kernel_init, rngs=rngs)
        self.shift = shift
        self.conv_out = Conv(outputs, outputs, kernel_init=ZERO, rngs=rngs)
        projected = projected or inputs != outputs
        self.shortcut = Conv(inputs, outputs, 1, kernel_init=kernel_init, rngs=rngs) if projected else None

    def __call__(self, x: jax.Array, condition: Condition, key: jax.Array | None) -> jax.Array:
        """See the class; drops nothing without a key."""
        h = jax.nn.silu(self.norm_in(x, condition.style))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_in(h)
        if self.shift is not None:
            h = h + self.shift(condition.shift)[:, None, None]
        h = dropped(jax.nn.silu(self.norm_out(h, condition.style)), self.dropout, key)
        y = (x if self.shortcut is None else self.shortcut(x)) + self.conv_out(h)
        return y if self.gain == 1.0 else y * self.gain


class Attended(nnx.Module):
    """A block, followed by attention where there is any."""

    def __init__(self, block: nnx.Module, attention: nnx.Module | None):
        self.block, self.attention = block, attention

    def __call__(self, x: jax.Array, condition: Condition, key: jax.Array | None) -> jax.Array:
        """As :class:`ResidualBlock`."""
        h = self.block(x, condition, key)
        return h if self.attention is None else self.attention(h)


class Bare(nnx.Module):
    """A convolution in the place of a block, of the image as ``resample`` leaves it."""

    def __init__(self, conv: Conv, resample: Resample | None = None):
        self.conv, self.resample = conv, resample

    def __call__(self, x: jax.Array, condition: Condition, key: jax.Array | None) -> jax.Array:
        """As :class:`ResidualBlock`."""
        return self.conv(x if self.resample is None else self.resample(x))
