"""The network of a deep hierarchy of latents: an encoder upwards, a generator downwards, and latents at each step.

Vahdat and Kautz 2020, "NVAE: A Deep Hierarchical Variational Autoencoder" (arXiv:2007.03898), in whose names

    encoder cell     x + 0.1 se(conv3(silu(norm(conv3(silu(norm(x)))))))                                     (1)
    generator cell   x + 0.1 se(norm(conv1(silu(norm(depthwise5(silu(norm(expand(norm(x))))))))))            (2)
    prior            N(m, s^2),  s = exp(5 tanh(log s / 5)) + 0.01, and m soft-clamped alike                 (3)
    posterior        N(m + dm, (s ds)^2), by the same clamps: dm and log ds are what is learned               (4)

Norms are group norms. NVAE's are batch norms, whose running statistics have to be made anew before sampling; there are
no weight norms and no flows. Images are cut into patches, so that nothing but the likelihood is at full resolution.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Conv
from gen_jax.nn.depthwise import DepthwiseConv, SqueezeExcite
from gen_jax.nn.embed import appended
from gen_jax.nn.fit import Size
from gen_jax.nn.layers import GroupNorm
from gen_jax.nn.resample import depth_to_space, repeat_pixels, space_to_depth

GAIN = 0.1  # of a cell's branch, (1) and (2)
EXPANSION = 3  # of a generator cell's channels; 6 in NVAE's largest
FLOOR = 0.01  # of a deviation, (3)
SMALL_WEIGHTS = nnx.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")  # of moments: near the prior

Moments = tuple[jax.Array, jax.Array]  # mean and deviation, [B, h, w, latent]


class Passed(NamedTuple):
    """What has become of an image: the decoder's raw output and, for each group of latents, two numbers an example.

    ``kl`` is the divergence from prior to posterior given the latents above, ``log_ratio`` log q(z) - log p(z) at the z
    drawn; both ``[groups, B]``, nats, summed over a group's latents.
    """

    raw: jax.Array
    kl: jax.Array
    log_ratio: jax.Array


class EncoderCell(nnx.Module):
    """(1): ``[B, H, W, width] -> [B, H, W, width]``."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        norm, conv = partial(GroupNorm, width, rngs=rngs), partial(Conv, width, width, rngs=rngs)
        self.norms, self.convs = nnx.List([norm(), norm()]), nnx.List([conv(), conv()])
        self.excite = SqueezeExcite(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        h = x
        for norm, conv in zip(self.norms, self.convs):
            h = conv(jax.nn.silu(norm(h)))
        return x + GAIN * self.excite(h)


class GeneratorCell(nnx.Module):
    """(2): ``[B, H, W, width] -> [B, H, W, width]``."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        wide = EXPANSION * width
        self.norms = nnx.List(GroupNorm(w, rngs=rngs) for w in (width, wide, wide, width))
        self.expand, self.narrow = Conv(width, wide, 1, rngs=rngs), Conv(wide, width, 1, rngs=rngs)
        self.depthwise = DepthwiseConv(wide, rngs=rngs)
        self.excite = SqueezeExcite(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        h = jax.nn.silu(self.norms[1](self.expand(self.norms[0](x))))
        h = jax.nn.silu(self.norms[2](self.depthwise(h)))
        return x + GAIN * self.excite(self.norms[3](self.narrow(h)))


class Group(nnx.Module):
    """A group of latents: its prior (3) from what is above, its posterior (4), and how it is taken in."""

    def __init__(self, width: int, latent: int, *, first: bool, rngs: nnx.Rngs):
        moments = partial(Conv, width, 2 * latent, kernel_init=SMALL_WEIGHTS, rngs=rngs)
        self.prior = None if first else moments(1)
        self.latent = latent
        self.seen, self.posterior = Conv(width, width, 1, rngs=rngs), moments(3)
        self.encoder_cell, self.cell = EncoderCell(width, rngs=rngs), GeneratorCell(width, rngs=rngs)
        self.join = Conv(width + latent, width, 1, rngs=rngs)

    def raw_prior(self, h: jax.Array) -> jax.Array:
        """Mean and log-deviation before the clamps, ``[B, h, w, 2 latent]``; 0 for the first group."""
        if self.prior is None:
            return jnp.zeros((*h.shape[:-1], 2 * self.latent), h.dtype)
        return self.prior(jax.nn.silu(h))

    def raw_posterior(self, h: jax.Array, below: jax.Array) -> jax.Array:
        """What (4) adds, from the generator's ``h`` and the encoder's features."""
        return self.posterior(jax.nn.silu(self.encoder_cell(below + self.seen(h))))

    def take(self, h: jax.Array, z: jax.Array) -> jax.Array:
        """``h`` with the latents in it."""
        return self.cell(self.join(appended(h, z)))


def clamped(raw: jax.Array) -> Moments:
    """Mean and deviation (3) from ``[..., 2 latent]``, float32."""
    mean, log_deviation = jnp.split(5 * jnp.tanh(raw.astype(jnp.float32) / 5), 2, axis=-1)
    return mean, jnp.exp(log_deviation) + FLOOR


class Hierarchy(nnx.Module):
    """``x [B, H, W, C] ->`` :class:`Passed`; H and W divisible by ``patch`` times 2 for every scale but one.

    Args:
      size: height and width of the images.
      channels: C.
      outputs: channels of the decoder's raw output.
      widths: of the scales, from the top; each has twice the sides of the one before.
      groups: of latents at every scale.
      latent: numbers of a group at every place.
      patch: side of the blocks of pixels that are one place at the lowest scale.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        outputs: int,
        *,
        widths: Sequence[int],
        groups: Sequence[int],
        latent: int,
        patch: int,
        rngs: nnx.Rngs,
    ):
        conv = partial(Conv, rngs=rngs)
        self.patch, self.latent, scales = patch, latent, len(widths)
        unit = patch << (scales - 1)
        self.start = nnx.Param(jnp.zeros((size[0] // unit, size[1] // unit, widths[0])))
        self.stem = conv(patch * patch * channels, widths[-1])
        self.scales = nnx.List(
            nnx.List(Group(width, latent, first=scale == place == 0, rngs=rngs) for place in range(count))
            for scale, (width, count) in enumerate(zip(widths, groups, strict=True))
        )
        self.cells = nnx.List(
            nnx.List(EncoderCell(width, rngs=rngs) for _ in range(count)) for width, count in zip(widths, groups)
        )
        self.shrink = nnx.List(conv(b, a, 3, stride=2) for a, b in itertools.pairwise(widths))
        self.grow = nnx.List(conv(a, b, 1) for a, b in itertools.pairwise(widths))
        self.head = conv(widths[-1], patch * patch * outputs)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> Passed:
        """See the class; ``key`` is for the latents."""
        assert key is not None, "latents are drawn by a key"
        below = self._upwards(x)
        h, kl, log_ratio, place = self._top(len(x)), [], [], 0
        for scale, groups in enumerate(self.scales):
            for group in groups:
                raw = group.raw_prior(h)
                (m, s), (mean, deviation) = clamped(raw), clamped(raw + group.raw_posterior(h, below.pop()))
                if group.prior is None:
                    m, s = jnp.zeros_like(m), jnp.ones_like(s)
                noise = jax.random.normal(jax.random.fold_in(key, place), mean.shape)
                z = mean + deviation * noise
                log_s = jnp.log(deviation / s)
                kl.append(_sum(0.5 * (((mean - m) / s) ** 2 + (deviation / s) ** 2 - 1) - log_s))
                log_ratio.append(_sum(0.5 * (((z - m) / s) ** 2 - noise**2) - log_s))
                h, place = group.take(h, z.astype(h.dtype)), place + 1
            h = self._grown(h, scale)
        return Passed(self._raw(h), jnp.stack(kl), jnp.stack(log_ratio))

    def generate(self, temperature: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Raw output ``[B, H, W, outputs]`` of latents from the prior with its deviations ``temperature [B]`` times."""
        assert key is not None, "latents are drawn by a key"
        h, place = self._top(len(temperature)), 0
        for scale, groups in enumerate(self.scales):
            for group in groups:
                m, s = clamped(group.raw_prior(h))
                if group.prior is None:
                    s = jnp.ones_like(s)
                noise = jax.random.normal(jax.random.fold_in(key, place), m.shape)
                z = m + s * temperature[:, None, None, None] * noise
                h, place = group.take(h, z.astype(h.dtype)), place + 1
            h = self._grown(h, scale)
        return self._raw(h)

    def _upwards(self, x: jax.Array) -> list[jax.Array]:
        """Features for every group, the lowest first."""
        h, kept = self.stem(space_to_depth(x, self.patch)), []
        for scale in reversed(range(len(self.cells))):
            for cell in self.cells[scale]:
                h = cell(h)
                kept.append(h)
            if scale:
                h = self.shrink[scale - 1](h)
        return kept

    def _top(self, n: int) -> jax.Array:
        return jnp.broadcast_to(self.start[...], (n, *self.start.shape))

    def _grown(self, h: jax.Array, scale: int) -> jax.Array:
        return self.grow[scale](repeat_pixels(h, 2)) if scale < len(self.grow) else h

    def _raw(self, h: jax.Array) -> jax.Array:
        return depth_to_space(self.head(jax.nn.silu(h)), self.patch)


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(axis=(1, 2, 3))
