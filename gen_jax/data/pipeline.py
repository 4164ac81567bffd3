"""From sources to batches, and from what is stored to what models see.

The position in the data is the step and nothing else. Epoch ``e`` visits the examples in the order of a
permutation keyed by ``(seed, e)``; the epochs, one after the other, are one endless sequence, of which step
``s`` takes the positions ``s * batch_size`` to ``(s + 1) * batch_size``. Every example is seen exactly once
an epoch, a batch may hold the end of one epoch and the beginning of the next, and a resumed run sees what an
uninterrupted one would have.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gen_jax.data.arrays import DataError, Examples, Source
from gen_jax.fields import PIXELS, Fields

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
                f"{self.source.name}: expected at least one batch of {self.batch_size} examples, got"
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
        """This process's examples at ``step``, ``[b, ...]`` of every field as it is stored."""
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


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """Batches of several sources side by side, each in an order of its own."""

    parts: tuple[Batches, ...]

    def __post_init__(self):
        named = [name for part in self.parts for name in part.source.fields]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise DataError(
                f"expected sources with fields of different names, got {twice[0]!r} in two of them; rename one:"
                f" source.renamed({twice[0]}='other')"
            )

    @property
    def batch_size(self) -> int:
        """Examples of each source per step over all processes."""
        return self.parts[0].batch_size

    def batch(self, step: int) -> Examples:
        """The fields of all sources at ``step``."""
        return _beside(part.batch(step) for part in self.parts)

    def iterate(self, start_step: int = 0) -> Iterator[Examples]:
        """Batches from ``start_step`` on, endlessly."""
        yield from map(lambda *batches: _beside(batches), *(part.iterate(start_step) for part in self.parts))


def _beside(batches: Iterable[Examples]) -> Examples:
    return {name: values for batch in batches for name, values in batch.items()}


def prepare(
    batch: "Mapping[str, jax.Array | np.ndarray]",
    key: "jax.Array | None" = None,
    *,
    fields: Fields | None = None,
    flip: bool = False,
    crop: int = 0,
) -> "dict[str, jax.Array]":
    """A batch as a model takes it: every field from its stored to its seen form.

    Args:
      batch: arrays ``[B, ...]`` by field, as they are stored.
      key: needed for ``flip`` and ``crop``; may be left out without.
      fields: what the arrays are; if not given, bytes are PIXELS and all else stays as it is.
      flip: mirror each image, or all frames of each video, left to right with probability 1/2.
      crop: shift each by up to this many pixels each way; what comes in at the border is a reflection.
    """
    import jax

    if key is None:
        if flip or crop:
            raise ValueError("prepare needs a key to flip and crop at random, got none; give one")
        key = jax.random.key(0)  # not used
    found: dict[str, Any] = {}
    for index, (name, x) in enumerate(batch.items()):
        kind = fields[name].kind if fields is not None else PIXELS if x.dtype == np.uint8 else None
        if kind is PIXELS and (flip or crop):
            x = _augmented(x, jax.random.fold_in(key, index) if index else key, flip=flip, crop=crop)
        found[name] = x if kind is None else kind.prepare(x)
    return found


def _augmented(x: Any, key: "jax.Array", *, flip: bool, crop: int) -> "jax.Array":
    import jax
    import jax.numpy as jnp

    if flip:
        mirrored = jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(len(x), *[1] * (x.ndim - 1)))
        x = jnp.where(mirrored, x[..., ::-1, :], x)
    if crop:
        within = [(0, 0)] * (x.ndim - 3)
        padded = jnp.pad(x, (*within, (crop, crop), (crop, crop), (0, 0)), mode="reflect")
        corners = jax.random.randint(jax.random.fold_in(key, 1), (len(x), 2), 0, 2 * crop + 1)
        before = [0] * (x.ndim - 4)

        def cut(one: "jax.Array", corner: "jax.Array") -> "jax.Array":
            return jax.lax.dynamic_slice(one, (*before, *corner, 0), x.shape[1:])

        x = jax.vmap(cut)(padded, corners)
    return x


to_uint8 = PIXELS.store
"""Images in [-1, 1] to uint8, of the same kind of array: the inverse of :func:`prepare` on all 256 values."""
