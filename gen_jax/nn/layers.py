"""Layers and initial weights that several networks share.

Wu and He 2018 (arXiv 1803.08494), group normalisation; Dumoulin et al. 2017 (arXiv 1610.07629), scale and shift by a
style.

    y = (x - mean of the group) / sqrt(variance of the group + 1e-6) * scale + shift                           (1)
    scale, shift = W style + (1, 0)                                                                            (2)
"""

import jax
import jax.numpy as jnp
from flax import nnx

WEIGHTS = nnx.initializers.variance_scaling(1.0, "fan_avg", "uniform")
ZERO = nnx.initializers.zeros_init()


class GroupNorm(nnx.Module):
    """Group normalisation with a learned scale and shift per channel."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.groups = group_count(width)
        self.scale, self.bias = nnx.Param(jnp.ones((width,))), nnx.Param(jnp.zeros((width,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, width]``."""
        return normalise_groups(x, self.groups, self.scale[...][None], self.bias[...][None])


class AdaptiveGroupNorm(nnx.Module):
    """(2), starting as plain group normalisation but for the style's random share."""

    def __init__(self, width: int, style_width: int, *, rngs: nnx.Rngs):
        self.groups = group_count(width)
        self.style = nnx.Linear(style_width, 2 * width, kernel_init=WEIGHTS, bias_init=_scale_one, rngs=rngs)

    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """``x [B, H, W, width]``, ``style [B, style_width]``."""
        scale, shift = jnp.split(self.style(style), 2, axis=-1)
        return normalise_groups(x, self.groups, scale, shift)


def normalise_groups(x: jax.Array, groups: int, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """Group normalisation of ``x [B, H, W, C]``, then ``scale`` and ``shift``, each ``[B or 1, C]``.

    Everything but one multiplication and one addition per pixel happens on ``[B, C]``: on a CPU this takes a third of
    the time of normalising first.
    """
    batch, _, _, width = x.shape
    wide = x.astype(jnp.float32)

    def over_group(moment: jax.Array) -> jax.Array:
        mean = moment.reshape(batch, groups, -1).mean(axis=-1)
        return jnp.repeat(mean, width // groups, axis=-1)  # [B, C]

    mean = over_group(wide.mean(axis=(1, 2)))
    variance = jnp.maximum(over_group(jnp.square(wide).mean(axis=(1, 2))) - jnp.square(mean), 0.0)
    gain = jax.lax.rsqrt(variance + 1e-6) * scale
    offset = shift - mean * gain
    return (wide * gain[:, None, None] + offset[:, None, None]).astype(x.dtype)


def group_count(width: int) -> int:
    """At most 32 groups, of at least four channels where there are as many, that divide ``width``."""
    return next(g for g in range(max(min(width // 4, 32), 1), 0, -1) if width % g == 0)


def _scale_one(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return jnp.concatenate([jnp.ones(shape[0] // 2, dtype), jnp.zeros(shape[0] // 2, dtype)])
