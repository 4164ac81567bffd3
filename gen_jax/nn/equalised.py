"""Layers whose weights are scaled where they are used: an equalised learning rate.

Karras et al. 2018, "Progressive growing of GANs" (arXiv:1710.10196); the multiplier m: Karras et al. 2019
(arXiv:1812.04948).

    weight used   c w,   c = gain m / sqrt(inputs of a sum),   w ~ N(0, 1 / m^2) when made                     (1)
    bias used     m b                                                                                          (2)
    pixel norm    x / sqrt(mean over channels of x^2 + 1e-8)                                                   (3)

An optimizer whose steps are as long for every weight, as Adam's are, so moves all layers at one relative speed, and
those with m < 1 more slowly.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Padding, convolve

HE = math.sqrt(2)
"""The gain of (1) of a layer before a leaky ReLU, or of the ReLU itself."""


class EqualisedLinear(nnx.Module):
    """``[..., inputs] -> [..., outputs]`` by (1) and (2)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        gain: float = 1.0,
        multiplier: float = 1.0,
        bias: float = 0.0,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.scale, self.multiplier = gain * multiplier / math.sqrt(inputs), multiplier
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (inputs, outputs)) / multiplier)
        self.bias = nnx.Param(jnp.full((outputs,), bias / multiplier, jnp.float32)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        y = x @ (self.scale * self.kernel[...])
        return y if self.bias is None else y + self.multiplier * self.bias[...]


class EqualisedConv(nnx.Module):
    """``[B, H, W, inputs] -> [B, H', W', outputs]`` by (1), with a bias."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        gain: float = 1.0,
        stride: int = 1,
        padding: Padding = "SAME",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        self.stride, self.padding = stride, padding
        self.scale = gain / math.sqrt(kernel**2 * inputs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (kernel, kernel, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros((outputs,))) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        y = convolve(x, self.scale * self.kernel[...], stride=self.stride, padding=self.padding)
        return y if self.bias is None else y + self.bias[...]


def pixel_norm(x: jax.Array) -> jax.Array:
    """(3), in float32: ``[..., C]``."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + 1e-8)).astype(x.dtype)


def leaky(x: jax.Array) -> jax.Array:
    """A ReLU that lets a fifth of what is negative through."""
    return jax.nn.leaky_relu(x, 0.2)
