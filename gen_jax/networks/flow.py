"""Whole normalising flows: chains of the layers of :mod:`gen_jax.nn.bijections`, for examples of any shape.

Images ``[H, W, C]`` are halved at every level, along the sides that are even, and half of the channels leave at each;
what they are told by is convolutions, as in Glow: 3x3, 1x1 and 3x3, the last of which begins at zero. Examples of any
other shape are one level, and perceptrons tell. Every flow begins as a change of coordinates that is linear.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from flax import nnx

from gen_jax.nn.bijections import (
    ActNorm,
    Autoregressive,
    Chain,
    Coupling,
    Deeper,
    Linear,
    Mask,
    Shape,
    Squeeze,
    alternating,
    halves,
)
from gen_jax.nn.conv import Conv
from gen_jax.nn.layers import ZERO
from gen_jax.nn.mlp import MLP
from gen_jax.nn.transforms import Transform

Steps = Callable[[Shape], list[Any]]


class Conditioner(nnx.Module):
    """``[B, *shape] -> [B, *shape, outputs]``; 0 to begin with."""

    def __init__(self, shape: Shape, outputs: int, *, width: int, rngs: nnx.Rngs):
        self.shape, self.outputs = shape, outputs
        layers: list[Any]
        if len(shape) == 3:
            layers = [Conv(shape[-1], width, 3, rngs=rngs), Conv(width, width, 1, rngs=rngs)]
            layers.append(Conv(width, shape[-1] * outputs, 3, kernel_init=ZERO, rngs=rngs))
        else:
            numbers = math.prod(shape)
            layers = [MLP(numbers, (width,), width, rngs=rngs)]
            layers.append(nnx.Linear(width, numbers * outputs, kernel_init=ZERO, rngs=rngs))
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, *shape, outputs]``."""
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x).reshape(-1, *self.shape, self.outputs)


def real_nvp(
    first: Sequence[Any], shape: Shape, transform: Transform, *, levels: int, depth: int, width: int, rngs: nnx.Rngs
) -> Chain:
    """Couplings, each after a normalisation: on chessboards, then, squeezed, on channels."""

    def coupled(shape: Shape, mask: Callable[..., Any]) -> list[Any]:
        pairs = [(ActNorm(shape), _coupling(shape, i, mask, transform, width, rngs)) for i in range(depth)]
        return [layer for pair in pairs for layer in pair]

    return Chain([*first, *_scales(shape, levels, partial(coupled, mask=alternating), partial(coupled, mask=halves))])


def glow(
    first: Sequence[Any], shape: Shape, transform: Transform, *, levels: int, depth: int, width: int, rngs: nnx.Rngs
) -> Chain:
    """Normalisation, a linear map of the channels and a coupling, again and again."""

    def step(shape: Shape, index: int, mask: Callable[..., Any]) -> list[Any]:
        return [
            ActNorm(shape),
            Linear(shape, rngs=rngs),
            _coupling(shape, index, mask, transform, width, rngs),
        ]

    def coupled(shape: Shape, mask: Callable[..., Any]) -> list[Any]:
        return [layer for i in range(depth) for layer in step(shape, i, mask)]

    squeezed = partial(coupled, mask=halves)
    whole = partial(coupled, mask=alternating)
    has_levels = levels > 0 and _factors(shape) != (1, 1)
    return Chain([*first, *_scales(shape, levels, (lambda shape: []) if has_levels else whole, squeezed)])


def maf(
    first: Sequence[Any], shape: Shape, transform: Transform, *, layers: int, hidden: Sequence[int], rngs: nnx.Rngs
) -> Chain:
    """Autoregressive layers, each after a normalisation, in one order and the other."""
    pairs = [
        (ActNorm(shape), Autoregressive(shape, hidden, transform, backwards=i % 2 == 1, rngs=rngs))
        for i in range(layers)
    ]
    return Chain([*first, *(layer for pair in pairs for layer in pair)])


def _scales(shape: Shape, levels: int, before: Steps, after: Steps) -> list[Any]:
    layers, factors = before(shape), _factors(shape)
    if not levels or factors == (1, 1):
        return layers
    height, width, channels = shape[0] // factors[0], shape[1] // factors[1], shape[2] * factors[0] * factors[1]
    squeezed = Chain(after((height, width, channels)))
    within = Chain(_scales((height, width, channels // 2), levels - 1, before, after))
    return [*layers, Deeper(Squeeze(factors), squeezed, within)]


def _factors(shape: Shape) -> tuple[int, int]:
    """By which an image's sides are divided: 2 where they are even."""
    if len(shape) != 3:
        return 1, 1
    down, across = (1 if side % 2 else 2 for side in shape[:2])
    return down, across


def _coupling(
    shape: Shape, index: int, mask: Callable[..., Any], transform: Transform, width: int, rngs: nnx.Rngs
) -> Coupling:
    told: Mask = partial(mask, parity=index % 2)
    return Coupling(shape, told, transform, Conditioner(shape, transform.parameters, width=width, rngs=rngs))
