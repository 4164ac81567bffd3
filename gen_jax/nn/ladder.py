"""The order of the blocks in a U-Net, whatever the blocks are.

Ronneberger, Fischer and Brox 2015 (arXiv:1505.04597), in the form of Ho, Jain and Abbeel 2020 (arXiv:2006.11239): what
is kept on the way down is the input, the output of every block and of every step to the next level. On the way up every
level has one block more than on the way down, and each block takes one of the kept ones, the latest first:

    down    h <- block(h), keep h;   between levels  h <- shrink(h), keep h                                    (1)
    up      h <- block(h joined with the latest kept);   between levels  h <- grow(h)                          (2)

Levels halve both sides where these are even and at least 8; otherwise they keep them (28 -> 14 -> 7 -> 7, and
20x32 -> 10x16 -> 5x8 -> 5x8). Levels with attention are named by the smaller side. Every part is called
``part(h, condition, key)``, and drops nothing without a key.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.fit import Size

MULTIPLE = 4
"""What sides had better be divisible by, in pixels, so that there is something to halve."""


class Condition(NamedTuple):
    """What blocks are told beside an image.

    Attributes:
      shift: ``[B, width]``, of which a block adds a linear map to all its pixels.
      style: ``[B, width]``, which scales and shifts what a block has normalised.
    """

    shift: Any = None
    style: Any = None


class Keys:
    """One key after another from one, or none from none."""

    def __init__(self, key: jax.Array | None):
        self._key, self._drawn = key, 0

    def next(self) -> jax.Array | None:
        """The next key."""
        self._drawn += 1
        return None if self._key is None else jax.random.fold_in(self._key, self._drawn)


class Descent(nnx.Module):
    """(1), and the middle: from ``h [B, H, W, stem]`` to the smallest level.

    Args:
      stem: width of the input.
      widths: of the levels.
      blocks: per level.
      block: makes a block from ``(inputs, outputs, level)``.
      shrink: makes what leads from ``level`` to the next, from ``(width, level)``.
      middle: makes the blocks behind the last level, from its width.
    """

    def __init__(
        self,
        stem: int,
        widths: Sequence[int],
        blocks: int,
        *,
        block: Callable[[int, int, int], nnx.Module],
        shrink: Callable[[int, int], nnx.Module],
        middle: Callable[[int], Sequence[nnx.Module]],
    ):
        inputs, stages, shrinks = stem, [], []
        for level, width in enumerate(widths):
            stages.append(nnx.List(block(width if i else inputs, width, level) for i in range(blocks)))
            inputs = width
            if level < len(widths) - 1:
                shrinks.append(shrink(width, level))
        self.stages, self.shrink, self.middle = nnx.List(stages), nnx.List(shrinks), nnx.List(middle(inputs))

    def __call__(
        self,
        h: jax.Array,
        condition: Condition,
        keys: Keys,
        feed: Callable[[int, jax.Array], jax.Array] = lambda level, h: h,
    ) -> tuple[jax.Array, list[jax.Array]]:
        """What the middle makes, and what was kept; ``feed(level, h)`` may add to h on its way to the next level."""
        kept = [h]
        for level, stage in enumerate(self.stages):
            for block in stage:
                h = block(h, condition, keys.next())
                kept.append(h)
            if level < len(self.shrink):
                h = feed(level, self.shrink[level](h, condition, keys.next()))
                kept.append(h)
        for block in self.middle:
            h = block(h, condition, keys.next())
        return h, kept


class Ascent(nnx.Module):
    """(2): back to full resolution.

    Args:
      stem: as for :class:`Descent`.
      widths: as for :class:`Descent`, full resolution first.
      blocks: as for :class:`Descent`; here there is one more per level.
      block: makes a block from ``(inputs, outputs, level, blocks that follow in this level)``.
      grow: makes what leads from ``level`` to the one before, from ``(width, level)``.
    """

    def __init__(
        self,
        stem: int,
        widths: Sequence[int],
        blocks: int,
        *,
        block: Callable[[int, int, int, int], nnx.Module],
        grow: Callable[[int, int], nnx.Module],
    ):
        kept = [stem, *[width for width in widths for _ in range(blocks + 1)][:-1]]
        inputs, stages, grows = widths[-1], [], []
        for level in reversed(range(len(widths))):
            stage = []
            for following in reversed(range(blocks + 1)):
                stage.append(block(inputs + kept.pop(), widths[level], level, following))
                inputs = widths[level]
            stages.append(nnx.List(stage))
            if level:
                grows.append(grow(inputs, level))
        self.stages, self.grow = nnx.List(stages), nnx.List(grows)

    def __call__(self, h: jax.Array, kept: Sequence[jax.Array], condition: Condition, keys: Keys) -> list[jax.Array]:
        """What every level ends with, the smallest first."""
        kept, ends = list(kept), []
        for level, stage in enumerate(self.stages):
            for block in stage:
                h = block(jnp.concatenate([h, kept.pop()], axis=-1), condition, keys.next())
            ends.append(h)
            if level < len(self.grow):
                h = self.grow[level](h, condition, keys.next())
        return ends


def is_halved(size: Size) -> bool:
    """Whether a level of this height and width is followed by one of half of them."""
    return all(side % 2 == 0 and side >= 8 for side in size)


def sizes(size: Size, levels: int) -> list[Size]:
    """Height and width at every level."""
    result = [size]
    while len(result) < levels:
        height, width = result[-1]
        result.append((height // 2, width // 2) if is_halved((height, width)) else (height, width))
    return result


def halvings(size: Size) -> list[Size]:
    """Height and width of all levels, as long as they can be halved, full resolution first."""
    result = [size]
    while is_halved(result[-1]):
        height, width = result[-1]
        result.append((height // 2, width // 2))
    return result


def where_halved(change: Any, grids: Sequence[Size]) -> list[Any]:
    """``change`` for every level that is halved on the way to the next, None for the others."""
    return [change if after != before else None for before, after in itertools.pairwise(grids)]
