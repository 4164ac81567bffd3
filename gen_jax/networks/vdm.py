"""The U-Net of variational diffusion models, which keeps the resolution.

Kingma, Salimans, Poole and Ho 2021, arXiv 2107.00630 (appendix B), and their code.

    input      z, sin(2^(n + 1) pi z), cos(2^(n + 1) pi z)  for n = 6, 7: they tell the last bits apart         (1)
    order      of :mod:`gen_jax.nn.ladder` with one level: 32 blocks, block, attention, block, 33 blocks
    block      of :mod:`gen_jax.nn.residual`, shifted by the condition without a bias, from zero
    condition  silu(W silu(W (sinusoids of 1000 t, c)))                                                         (2)
    output     z + convolution of what the last block leaves                                                    (3)

In (2) c is a one-hot vector of the class, zero for no label. Without classes it is one number that is always zero, as
the authors have it; their 30,578,179 parameters at base 128, and 122,137,603 at 256, count its weights. The last
convolutions of blocks, of attention and of the network start at zero: then the network says that z is all noise.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.attention import Attention
from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import sinusoidal
from gen_jax.nn.ladder import Ascent, Condition, Descent, Keys
from gen_jax.nn.layers import ZERO, GroupNorm
from gen_jax.nn.residual import Attended, ResidualBlock

WEIGHTS = nnx.initializers.lecun_normal()


class VDMUNet(nnx.Module):
    """``z [B, H, W, channels], t [B], label [B] -> noise [B, H, W, channels]``.

    Args:
      channels: of the images.
      base: width of all blocks; the condition (2) is four times as wide.
      blocks: residual blocks before the middle; there is one more behind it.
      dropout: share of activations dropped in every block while training.
      frequencies: n of (1).
      classes: 0 for a network without labels; otherwise label ``classes`` is no label.
    """

    def __init__(
        self,
        channels: int,
        *,
        base: int,
        blocks: int,
        dropout: float = 0.0,
        frequencies: tuple[int, ...] = (6, 7),
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        def block(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(
                inputs,
                outputs,
                norms=(GroupNorm(inputs, rngs=rngs), GroupNorm(outputs, rngs=rngs)),
                shift=nnx.Linear(4 * base, outputs, use_bias=False, kernel_init=ZERO, rngs=rngs),
                dropout=dropout,
                kernel_init=WEIGHTS,
                rngs=rngs,
            )

        attention = partial(Attention, kernel_init=WEIGHTS, rngs=rngs)
        self.base, self.frequencies, self.classes = base, frequencies, classes
        self.first = nnx.Linear(base + max(classes, 1), 4 * base, kernel_init=WEIGHTS, rngs=rngs)
        self.second = nnx.Linear(4 * base, 4 * base, kernel_init=WEIGHTS, rngs=rngs)
        self.stem = Conv(channels * (1 + 2 * len(frequencies)), base, kernel_init=WEIGHTS, rngs=rngs)
        self.descent = Descent(
            base,
            [base],
            blocks,
            block=lambda inputs, outputs, level: block(inputs, outputs),
            shrink=_one_level,
            middle=lambda width: [Attended(block(width, width), attention(width)), block(width, width)],
        )
        self.ascent = Ascent(
            base,
            [base],
            blocks,
            block=lambda inputs, outputs, level, following: block(inputs, outputs),
            grow=_one_level,
        )
        self.norm = GroupNorm(base, rngs=rngs)
        self.output = Conv(base, channels, kernel_init=ZERO, rngs=rngs)

    def __call__(
        self,
        z: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class; ``t`` is how far gamma has gone from its smallest to its largest value, 0 to 1."""
        condition = Condition(shift=self._condition(t, label).astype(z.dtype))
        keys = Keys(key if train else None)
        h, kept = self.descent(self.stem(fourier_features(z, self.frequencies)), condition, keys)
        h = self.ascent(h, kept, condition, keys)[-1]
        return z + self.output(jax.nn.silu(self.norm(h)))

    def _condition(self, t: jax.Array, label: jax.Array | None) -> jax.Array:
        width = max(self.classes, 1)
        chosen = jnp.zeros((len(t), width)) if label is None or not self.classes else jax.nn.one_hot(label, width)
        features = jnp.concatenate([sinusoidal(1000 * t, self.base), chosen], axis=-1)
        h = jax.nn.silu(self.first(features.astype(self.first.kernel.dtype)))
        return jax.nn.silu(self.second(h))


def fourier_features(z: jax.Array, frequencies: tuple[int, ...]) -> jax.Array:
    """(1), computed in float32: ``[B, H, W, C] -> [B, H, W, C (1 + 2 frequencies)]``."""
    angles = [2 ** (n + 1) * math.pi * z.astype(jnp.float32) for n in frequencies]
    waves = [wave(angle).astype(z.dtype) for wave in (jnp.sin, jnp.cos) for angle in angles]
    return jnp.concatenate([z, *waves], axis=-1)


def _one_level(width: int, level: int) -> nnx.Module:
    raise AssertionError(f"expected one level, got {level}")
