"""The synthesis of StyleGAN3: signals of limited band, so that details move with what they belong to.

Karras et al. 2021, "Alias-free generative adversarial networks" (arXiv:2106.12423). An image is the unit square, and a
layer's activations are samples at a rate s of a signal with frequencies up to a cutoff f_c, but for what lies between
f_c and a stopband f_t. Of N layers, the last C of which are critically sampled, layer i has, for images of side R,

    f_c(i) = 2 (R / 4)^e,   f_t(i) = 2^2.1 (2^0.3 R / 2 / 2^2.1)^e,   e = min(i / (N - C), 1)                       (1)
    s(i) = the power of two above 2 f_t(i), at most R;   half width f_h(i) = max(f_t(i), s(i) / 2) - f_c(i)         (2)
    channels(i) = min(base R / 2 / f_c(i), most);   side of the canvas s(i) + 2 margin, of the last two R           (3)

Before them stand Fourier features of frequencies within f_c(0), drawn once, that a style turns and moves:

    x(u) = W a sin(2 pi (f M u + p)),   M = rotation (t_0, t_1) / |(t_0, t_1)|, translation (t_2, t_3),  t = A w    (4)

and a layer, with the modulated convolution (2) of :mod:`gen_jax.networks.stylegan2`, is

    h = modulated(x / sqrt(E x^2)) + bias                E x^2 is carried: it follows every batch                   (5)
    y = down(sqrt 2 leaky(up(h)))                        at twice the larger rate, by filters of 6 taps a step      (6)

of which the last one, that makes the image, has neither demodulation nor (6). The filters are those of
:mod:`gen_jax.nn.upfirdn`. In the network T, which follows translations, convolutions are 3x3; in R, which follows
rotations, they are 1x1 of twice the channels, and the filters on the way down are the same in every direction, but
those of critical layers.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gen_jax.networks.stylegan2 import modulated
from gen_jax.nn.conv import convolve
from gen_jax.nn.equalised import HE, EqualisedLinear, leaky
from gen_jax.nn.upfirdn import low_pass, radial_low_pass, upfirdn

TAPS = 6  # of a filter, for every step of its rate
HALVED = 20_000  # images over which half of E x^2 in (5) is forgotten


class Level(NamedTuple):
    """Numbers of (1) to (3), of what a layer makes."""

    cutoff: float
    half_width: float
    rate: int
    side: int
    channels: int


def plan(side: int, channels: int, *, layers: int, critical: int, base: float, most: int, margin: int) -> list[Level]:
    """The levels of ``layers`` layers and the image, ``layers + 1`` in all."""
    e = np.minimum(np.arange(layers + 1) / (layers - critical), 1.0)
    first, last = 2**2.1, side / 2 * 2**0.3
    cutoffs, stops = 2.0 * (side / 4) ** e, first * (last / first) ** e
    rates = 2 ** np.ceil(np.log2(np.minimum(2 * stops, side)))
    half = np.maximum(stops, rates / 2) - cutoffs
    sides = rates + 2 * margin
    sides[-2:] = side
    widths = np.rint(np.minimum(base * side / 2 / cutoffs, most))
    widths[-1] = channels
    return [
        Level(float(c), float(h), int(r), int(n), int(w)) for c, h, r, n, w in zip(cutoffs, half, rates, sides, widths)
    ]


class Fourier(nnx.Module):
    """(4): ``style [B, width] -> [B, H, W, channels]``."""

    def __init__(self, level: Level, width: int, *, rngs: nnx.Rngs):
        self.level = level
        keys = jax.random.split(rngs.params(), 2)
        radius, turn = jax.random.uniform(keys[0], (2, level.channels))
        # Uniform over the disk of frequencies.
        radius, turn = level.cutoff * jnp.sqrt(radius), 2 * jnp.pi * turn
        self.frequency = nnx.BatchStat(radius[:, None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)], axis=-1))
        self.phase = nnx.BatchStat(jax.random.uniform(keys[1], (level.channels,)) - 0.5)
        self.affine = EqualisedLinear(width, 4, rngs=rngs)
        self.affine.kernel[...] = jnp.zeros_like(self.affine.kernel[...])
        self.affine.bias[...] = jnp.array([1.0, 0.0, 0.0, 0.0])  # type: ignore[index]
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (level.channels, level.channels)))

    def __call__(self, style: jax.Array, motion: jax.Array) -> jax.Array:
        """See the class; ``motion [B, 2, 3]`` is a rotation and a translation of the plane before all others."""
        level, frequency = self.level, self.frequency[...]
        t = self.affine(style).astype(jnp.float32)
        t = t / jnp.maximum(jnp.linalg.norm(t[:, :2], axis=-1, keepdims=True), 1e-8)
        turn = jnp.stack([jnp.stack([t[:, 0], -t[:, 1]], -1), jnp.stack([t[:, 1], t[:, 0]], -1)], axis=1)  # [B, 2, 2]
        matrix = turn @ motion[..., :2]
        offset = jnp.einsum("bij,bj->bi", turn, motion[..., 2] - t[:, 2:])
        # Frequencies that the motion has moved near the end of the band fade out.
        f = jnp.einsum("ci,bij->bcj", frequency, matrix)
        phase = self.phase[...] + jnp.einsum("ci,bi->bc", frequency, offset)
        size = jnp.linalg.norm(f, axis=-1)
        amplitude = jnp.clip(1 - (size - level.cutoff) / (level.rate / 2 - level.cutoff), 0.0, 1.0)
        place = (jnp.arange(level.side) - (level.side - 1) / 2) / level.rate  # of pixels, in images from the middle
        along, down = (
            place[None, None, :, None] * f[:, None, None, :, 0],
            place[None, :, None, None] * f[:, None, None, :, 1],
        )
        x = amplitude[:, None, None] * jnp.sin(2 * jnp.pi * (along + down + phase[:, None, None]))
        kernel = self.kernel[...]
        return x.astype(kernel.dtype) @ (kernel / math.sqrt(level.channels))


class Layer(nnx.Module):
    """(5) and (6): ``x [B, h, w, before.channels], style [B, width] -> [B, H, W, after.channels]``.

    Args:
      before: of its input.
      after: of its output.
      width: of a style.
      kernel: side of the convolution.
      critical: whether the output is critically sampled.
      radial: whether the filter on the way down is (4) of :mod:`gen_jax.nn.upfirdn`, where it is not critical.
    """

    def __init__(
        self, before: Level, after: Level, width: int, *, kernel: int, critical: bool, radial: bool, rngs: nnx.Rngs
    ):
        self.side = kernel
        self.affine = EqualisedLinear(width, before.channels, bias=1.0, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (kernel, kernel, before.channels, after.channels)))
        self.bias = nnx.Param(jnp.zeros((after.channels,)))
        self.square = nnx.BatchStat(jnp.ones(()))
        rate = 2 * max(before.rate, after.rate)
        self.up, self.down = rate // before.rate, rate // after.rate
        taps = TAPS * self.up, TAPS * self.down
        self.rising = partial(low_pass, taps[0], before.cutoff, 2 * before.half_width, rate)
        design = radial_low_pass if radial and not critical else low_pass
        self.falling = partial(design, taps[1], after.cutoff, 2 * after.half_width, rate)
        # Rows that the filters and the steps need beyond those that there are.
        total = (after.side - 1) * self.down + 1 - (before.side + kernel - 1) * self.up
        total += sum(taps) - 2
        low = (total + self.up) // 2
        self.padding = (low, total - low)

    def __call__(self, x: jax.Array, style: jax.Array, train: bool) -> jax.Array:
        """See the class; where it trains, the carried square follows."""
        x = scaled(x, self.square, train)
        h = modulated(
            x, self.kernel[...], self.affine(style), lambda x, kernel: convolve(x, kernel, padding=self.side - 1)
        )
        h = h + self.bias[...]
        h = upfirdn(h, self.rising(), up=self.up, padding=self.padding, gain=self.up**2)
        return upfirdn(HE * leaky(h), self.falling(), down=self.down)


class ToImage(nnx.Module):
    """The last layer: ``x [B, H, W, inputs], style [B, width] -> [B, H, W, channels]``."""

    def __init__(self, inputs: int, channels: int, width: int, *, rngs: nnx.Rngs):
        self.affine = EqualisedLinear(width, inputs, bias=1.0, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (inputs, channels)))
        self.bias = nnx.Param(jnp.zeros((channels,)))
        self.square = nnx.BatchStat(jnp.ones(()))

    def __call__(self, x: jax.Array, style: jax.Array, train: bool) -> jax.Array:
        """See the class."""
        x = scaled(x, self.square, train) * self.affine(style)[:, None, None]
        return x @ (self.kernel[...] / math.sqrt(x.shape[-1])) + self.bias[...]


def scaled(x: jax.Array, square: nnx.BatchStat, train: bool) -> jax.Array:
    """(5)'s ``x / sqrt(E x^2)``; where it trains, E x^2 follows the batch before."""
    if train:
        keep = 0.5 ** (len(x) / HALVED)
        now = jax.lax.stop_gradient(jnp.square(x.astype(jnp.float32)).mean())
        square[...] = keep * square[...] + (1 - keep) * now
    return x * jax.lax.rsqrt(square[...]).astype(x.dtype)


class Synthesis(nnx.Module):
    """``styles [B, layers + 2, width] -> [B, side, side, channels]``, four times as faint as its last layer makes them.

    Args:
      size: height and width of the images, the same power of two.
      channels: of the images.
      width: of a style.
      layers: between the Fourier features and the image.
      critical: of them, that are critically sampled.
      base: channels at full resolution are ``base``, more where the cutoff is lower.
      most: and no layer has more.
      margin: pixels around the canvas of every layer, so that its border is not seen.
      kernel: side of the convolutions.
      radial: whether filters are the same in every direction.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int,
        *,
        width: int,
        layers: int,
        critical: int,
        base: float,
        most: int,
        margin: int,
        kernel: int,
        radial: bool,
        rngs: nnx.Rngs,
    ):
        options = {"layers": layers, "critical": critical, "most": most, "margin": margin}
        levels = plan(size[0], channels, base=base, **options)
        self.layers = layers + 2
        self.input = Fourier(levels[0], width, rngs=rngs)
        self.convolutions = nnx.List(
            Layer(
                levels[max(i - 1, 0)],
                levels[i],
                width,
                kernel=kernel,
                critical=i >= layers - critical,
                radial=radial,
                rngs=rngs,
            )
            for i in range(layers)
        )
        self.image = ToImage(levels[-2].channels, channels, width, rngs=rngs)

    def __call__(
        self,
        styles: jax.Array,
        motion: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class; ``motion [B, 2, 3]`` moves the features, none leaves them. There is no noise to draw."""
        still = jnp.broadcast_to(jnp.eye(2, 3), (len(styles), 2, 3))
        x = self.input(styles[:, 0], still if motion is None else motion.astype(jnp.float32))
        for index, layer in enumerate(self.convolutions):
            x = layer(x, styles[:, index + 1], train)
        return 0.25 * self.image(x, styles[:, -1], train)
