"""From a source to batches, and from 8-bit images to floats and back.

The position in the data is the step and nothing else. Epoch ``e`` visits the examples in the order of a
permutation keyed by ``(seed, e)``; the epochs, one after the other, are one endless sequence, of which step
``s`` takes the positions ``s * batch_size`` to ``(s + 1) * batch_size``. Every example is seen exactly once
an epoch, a batch may hold the end of one epoch and the beginning of the next, and a resumed run sees what an
uninterrupted one would have.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gen_jax.data.arrays import DataError, Examples, Source

if TYPE_CHECKING:
    import jax

_ENDLESS = 1 << 40  # steps


@dataclasses.dataclass(frozen=True)
class Batches:
    """The batches of one process: a pure function of the step.

    A batch of the whole data set holds the examples in their own order at every step, for models that are
    fitted to all data at once.
    """

    source: Source
    batch_size: int
    """Examples per step over all processes."""
    seed: int
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        if self.source.size < self.batch_size:
            raise DataError(
                f"{self.source.name}: expected at least one batch of {self.batch_size} images, got"
                f" {self.source.size};"
                " use a smaller batch (--batch-size) or more data"
            )
        if self.batch_size < 1 or self.batch_size % self.process_count:
            raise ValueError(
                f"batch_size should be a positive multiple of the {self.process_count} processes, got {self.batch_size}"
            )
        if not 0 <= self.process_index < self.process_count:
            raise ValueError(f"process_index should be in 0..{self.process_count - 1}, got {self.process_index}")
        if self.seed < 0:
            raise ValueError(f"seed should not be negative, got {self.seed}")

    def indices(self, step: int) -> np.ndarray:
        """Indices of this process's examples at ``step``, int64 ``[batch_size / process_count]``."""
        size, n = self.batch_size, self.source.size
        share = size // self.process_count
        if size == n:
            positions = np.arange(n)
            return positions[self.process_index * share : (self.process_index + 1) * share]
        start = step * size + self.process_index * share
        epochs, offsets = np.divmod(np.arange(start, start + share), n)
        chosen = np.empty(share, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = permutation(self.seed, int(epoch), n)[offsets[here]]
        return chosen

    def batch(self, step: int) -> Examples:
        """``image`` uint8 ``[b, H, W, C]`` and, where the data has labels, ``label`` int32 ``[b]``, at
        ``step``.
        """
        return self.source.read(self.indices(step))

    def iterate(self, start_step: int = 0, *, threads: int = 4, ahead: int = 8) -> Iterator[Examples]:
        """Batches from ``start_step`` on, endlessly; what is read from disk is read ahead.

        Args:
          start_step: the step of the first batch.
          threads: readers of data that is not in memory.
          ahead: batches of such data that are kept ready.
        """
        if self.source.in_memory:
            for step in range(start_step, _ENDLESS):
                yield self.batch(step)
            return
        import grain

        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        yield from grain.MapDataset.source(_Steps(self))[start_step:].to_iter_dataset(options)


class _Steps:
    """The batches as a random-access source of Grain."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, step: int) -> Examples:
        return self.batches.batch(int(step))


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of ``n`` examples in an epoch, int64 ``[n]``."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    order = generator.permutation(n)
    order.flags.writeable = False
    return order


def prepare(
    batch: "Mapping[str, jax.Array]", key: "jax.Array | None" = None, *, flip: bool = False, crop: int = 0
) -> "dict[str, jax.Array]":
    """A batch of 8-bit images as a model takes it: image float32 in [-1, 1], everything else as it is.

    Args:
      batch: ``image`` uint8 ``[B, H, W, C]``, and what else there is.
      key: needed for ``flip`` and ``crop``; may be left out without.
      flip: mirror each image left to right with probability 1/2.
      crop: shift each image by up to this many pixels each way; what comes in at the border is a reflection.
    """
    import jax
    import jax.numpy as jnp

    x = batch["image"]
    if key is None:
        if flip or crop:
            raise ValueError("prepare needs a key to flip and crop at random, got none; give one")
        key = jax.random.key(0)  # not used
    if flip:
        mirrored = jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(len(x), 1, 1, 1))
        x = jnp.where(mirrored, x[:, :, ::-1], x)
    if crop:
        padded = jnp.pad(x, ((0, 0), (crop, crop), (crop, crop), (0, 0)), mode="reflect")
        corners = jax.random.randint(jax.random.fold_in(key, 1), (len(x), 2), 0, 2 * crop + 1)
        cut = lambda image, corner: jax.lax.dynamic_slice(image, (*corner, 0), x.shape[1:])  # noqa: E731
        x = jax.vmap(cut)(padded, corners)
    # Centred before it is scaled: x / 127.5 - 1 makes 1.0000001 of white.
    return {**batch, "image": (x.astype(jnp.float32) - 127.5) / 127.5}


def to_uint8(x: Any) -> Any:
    """Images in [-1, 1] to uint8, of the same kind of array: the inverse of :func:`prepare` on all 256
    values.
    """
    xp: Any = np
    if not isinstance(x, np.ndarray):
        import jax.numpy as xp
    return xp.clip(xp.floor(x * 127.5 + 128.0), 0, 255).astype(xp.uint8)
