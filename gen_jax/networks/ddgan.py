"""Generator and critic of the denoising diffusion GAN.

Xiao, Kreis and Vahdat 2022, arXiv 2112.07804. Both take the time as an integer 0 .. T-1 per image.

    generator  G(x_{t+1}, t, z): a U-Net (:mod:`gen_jax.networks.ncsnpp`) styled by an MLP of z / rms(z)           (1)
    critic     D(x_t, x_{t+1}, t): residual blocks of  a(x) -> conv + W time -> a -> down -> conv,  a = leaky ReLU  (2)

The critic ends in a plane that holds how much the activations vary between images of a group of four (Karras et al.
2018, arXiv 1710.10196), a sum over all pixels and a linear map. For small budgets there are a generator that sees
blocks of ``patch^2`` pixels as channels, which is a quarter of the work for 2, and a critic of strided convolutions
after Radford, Metz and Chintala 2016 (arXiv 1511.06434).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.networks.ncsnpp import NCSNpp, half_block
from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import TimeEmbedding, class_table, sinusoidal
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import Condition, Keys, is_halved, sizes
from gen_jax.nn.layers import WEIGHTS, ZERO, AdaptiveGroupNorm
from gen_jax.nn.minibatch import minibatch_deviation
from gen_jax.nn.resample import depth_to_space, downsample, space_to_depth
from gen_jax.nn.residual import Resample, ResidualBlock

_SCALED = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")


class Generator(nnx.Module):
    """(1): ``x [B, H, W, channels], time [B], z [B, latent]`` to images in (-1, 1).

    Args:
      size: height and width of the images.
      channels: of the images.
      base: width of the U-Net's first level.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: levels with self-attention.
      latent: width of ``z``.
      style_width: width of what the latent is mapped to.
      mapping_layers: dense layers of the mapping network.
      patch: side of the pixel blocks that are taken as channels.
      classes: 0 for a generator without labels; otherwise a label adds its embedding to the style.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        latent: int,
        style_width: int,
        mapping_layers: int,
        patch: int = 1,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        def block(inputs: int, outputs: int, resample: Resample | None) -> ResidualBlock:
            norms = (
                AdaptiveGroupNorm(inputs, style_width, rngs=rngs),
                AdaptiveGroupNorm(outputs, style_width, rngs=rngs),
            )
            return half_block(inputs, outputs, resample, norms=norms, shift_width=4 * base, rngs=rngs)

        self.patch = patch
        self.mapping = Mapping(latent, style_width, mapping_layers, rngs=rngs)
        self.embedding = class_table(classes, style_width, rngs)
        self.time = TimeEmbedding(base, 4 * base, rngs=rngs)
        self.net = NCSNpp(
            (size[0] // patch, size[1] // patch),
            channels * patch**2,
            base=base,
            multipliers=multipliers,
            blocks=blocks,
            attention=attention,
            block=block,
            rngs=rngs,
        )

    def __call__(
        self,
        x: jax.Array,
        time: jax.Array,
        z: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """A guess of x_0, of the shape of ``x``."""
        style = _with_label(self.mapping(z), self.embedding, label)
        condition = Condition(shift=jax.nn.silu(self.time(time).astype(x.dtype)), style=style)
        h = self.net(space_to_depth(x, self.patch), condition, Keys(None))
        return jnp.tanh(depth_to_space(h, self.patch))


class Mapping(nnx.Module):
    """``z [B, latent]``, scaled to mean square 1, through dense layers with SiLU after each: ``[B, width]``."""

    def __init__(self, latent: int, width: int, layers: int, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            nnx.Linear(width if i else latent, width, kernel_init=WEIGHTS, rngs=rngs) for i in range(layers)
        )

    def __call__(self, z: jax.Array) -> jax.Array:
        """See the class."""
        h = z * jax.lax.rsqrt(jnp.square(z).mean(axis=-1, keepdims=True) + 1e-8)
        for layer in self.layers:
            h = jax.nn.silu(layer(h))
        return h


class Critic(nnx.Module):
    """(2): ``x_t, x_{t+1} [B, H, W, channels], time [B]`` to logits ``[B]``.

    Args:
      size: height and width of the images.
      channels: of the images.
      base: channels per unit of ``multipliers``.
      multipliers: of ``base``, one per block; every block but the first halves the sides where they can be halved.
      time_width: width of the time's embedding.
      classes: 0 for a critic without labels; otherwise a label adds its embedding to the time's.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        time_width: int,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.time_width = time_width
        widths = [base * m for m in multipliers]
        levels = sizes(size, len(widths))
        self.embedding = class_table(classes, time_width, rngs)
        self.time_in = nnx.Linear(time_width, time_width, kernel_init=WEIGHTS, rngs=rngs)
        self.time_out = nnx.Linear(time_width, time_width, kernel_init=WEIGHTS, rngs=rngs)
        self.stem = Conv(2 * channels, widths[0], 1, kernel_init=WEIGHTS, rngs=rngs)
        self.blocks = nnx.List(
            CriticBlock(a, b, time_width, halve=i > 0 and is_halved(levels[i - 1]), rngs=rngs)
            for i, (a, b) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.last = Conv(widths[-1] + 1, widths[-1], kernel_init=WEIGHTS, rngs=rngs)
        self.head = nnx.Linear(widths[-1], 1, kernel_init=WEIGHTS, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        later: jax.Array,
        time: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Logits ``[B]`` that ``x`` came before ``later``, one step earlier in the diffusion, in real data."""
        embedded = self.time_out(_leaky(self.time_in(sinusoidal(time, self.time_width).astype(x.dtype))))
        embedded = _leaky(_with_label(embedded, self.embedding, label))
        h = self.stem(jnp.concatenate([x, later], axis=-1))
        for block in self.blocks:
            h = block(h, embedded)
        h = jnp.concatenate([h, minibatch_deviation(h)], axis=-1)
        return self.head(_leaky(self.last(h)).sum(axis=(1, 2)))[:, 0]


class CriticBlock(nnx.Module):
    """``[B, H, W, inputs]``, ``time [B, time_width]`` to ``[B, H', W', outputs]``."""

    def __init__(self, inputs: int, outputs: int, time_width: int, *, halve: bool, rngs: nnx.Rngs):
        self.halve = halve
        self.conv_in = Conv(inputs, outputs, kernel_init=WEIGHTS, rngs=rngs)
        self.time = nnx.Linear(time_width, outputs, kernel_init=WEIGHTS, rngs=rngs)
        self.conv_out = Conv(outputs, outputs, kernel_init=ZERO, rngs=rngs)
        self.shortcut = Conv(inputs, outputs, 1, use_bias=False, kernel_init=WEIGHTS, rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """See the class."""
        h = _leaky(self.conv_in(_leaky(x)) + self.time(time)[:, None, None])
        if self.halve:
            h, x = downsample(h), downsample(x)
        return (self.shortcut(x) + self.conv_out(h)) * math.sqrt(0.5)


class StridedCritic(nnx.Module):
    """A critic of plain convolutions ``a(conv(x) + W time)``, and one linear map of all that is left.

    Called as :class:`Critic`. It halves the sides with 4x4 convolutions as long as they can be halved and goes on with
    3x3. Against one fixed generator of 28x28 images it told 70 % of x_0 apart after 250 batches, where residual blocks
    at 14x14 told 58 %, in a third of their time.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        time_width: int,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.time_width = time_width
        widths = [base * m for m in multipliers]
        levels = sizes(size, len(widths) + 1)
        self.embedding = class_table(classes, time_width, rngs)
        self.time = nnx.Linear(time_width, time_width, kernel_init=WEIGHTS, rngs=rngs)
        self.times = nnx.List(nnx.Linear(time_width, w, kernel_init=WEIGHTS, rngs=rngs) for w in widths)
        self.convs = nnx.List(
            Conv(a, b, 4 if halved else 3, stride=2 if halved else 1, padding=1, kernel_init=_SCALED, rngs=rngs)
            for a, b, halved in zip([2 * channels, *widths], widths, map(is_halved, levels), strict=False)
        )
        self.head = nnx.Linear(widths[-1] * levels[-1][0] * levels[-1][1], 1, kernel_init=_SCALED, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        later: jax.Array,
        time: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """As :class:`Critic`."""
        embedded = self.time(sinusoidal(time, self.time_width).astype(x.dtype))
        embedded = _leaky(_with_label(embedded, self.embedding, label))
        h = jnp.concatenate([x, later], axis=-1)
        for conv, shift in zip(self.convs, self.times, strict=True):
            h = _leaky(conv(h) + shift(embedded)[:, None, None])
        return self.head(h.reshape(len(h), -1))[:, 0]


def _leaky(x: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(x, 0.2)


def _with_label(x: jax.Array, embedding: nnx.Embed | None, label: jax.Array | None) -> jax.Array:
    return x if embedding is None or label is None else x + embedding(label).astype(x.dtype)
