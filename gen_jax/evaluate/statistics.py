"""What is known of a set of examples in one network's features, gathered in one pass over the set.

Moments and the sums of a score are constant in memory. Features and probabilities are kept only where asked for: what
is made of pairs of examples (kernel distance, nearest neighbours) and what looks at parts of a set (extrapolations,
intervals) needs them, at 8 KB an example for 2,048 features. None of it depends on how the set was cut into batches,
how these were padded, or on the number of devices, beyond the rounding of the features themselves.

A set's fingerprint is the sum, modulo 2^256, of the SHA-256 of its examples, each over shape and bytes: the same for
the same examples in any order and in any file format that loses nothing. What is behind a length is left out.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from gen_jax.checks import Count, checked
from gen_jax.data import DataError
from gen_jax.evaluate import inception_score
from gen_jax.evaluate.features import FeatureNetwork
from gen_jax.evaluate.inception_score import ScoreSums
from gen_jax.evaluate.moments import Moments, merge, moments
from gen_jax.evaluate.sets import ExampleSet, from_array
from gen_jax.evaluate.tensors import read_tensors, write_tensors
from gen_jax.fields import PIXELS
from gen_jax.reading import parse_json, said

_CHUNK = 2048  # examples whose moments are merged at a time
_FORMAT = "gen_jax statistics 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """One set in one network's features."""

    name: str
    split: str
    n: Count
    fingerprint: str
    """Of the examples; see the head of this file."""
    quantisation: str
    network: str
    network_hash: str
    resize: str
    shape: tuple[int, ...] | None = None
    """Of an example, such as height, width and channels of an image; None where they differ."""
    features: np.ndarray | None = dataclasses.field(default=None, repr=False)  # float32 [N, F]
    probabilities: np.ndarray | None = dataclasses.field(default=None, repr=False)  # float32 [N, K]
    streamed_moments: Moments | None = dataclasses.field(default=None, repr=False)
    streamed_score: ScoreSums | None = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def moments(self) -> Moments:
        """Mean and covariance of the features."""
        return self.streamed_moments or moments(self.kept("moments"))

    def kept(self, metric: str) -> np.ndarray:
        """The features, where they were kept.

        Raises:
          ValueError: where they were not; ``metric`` is what they were asked for.
        """
        if self.features is None:
            raise ValueError(
                f"{metric} needs the features of every example, and of {self.name} only moments were kept; "
                "measure the examples themselves, or save statistics with --keep-features"
            )
        return self.features

    def score(self, splits: int) -> tuple[float, float]:
        """Mean and deviation of the classifier score over ``splits`` parts.

        Raises:
          ValueError: if the network knows no classes, or other splits were streamed.
        """
        if self.probabilities is not None:
            return inception_score.classifier_score(self.probabilities, splits=splits)
        if self.streamed_score is None:
            raise ValueError(f"a score needs class probabilities, and the network {self.network!r} gave none")
        summed = len(self.streamed_score.n)
        if summed != splits:
            raise ValueError(
                f"the score of {self.name} was summed over {summed} splits, not {splits}; ask for {summed}"
            )
        return self.streamed_score.score()

    def take(self, indices: np.ndarray) -> "Statistics":
        """The statistics of the examples at ``indices [k]``; everything, where features were not kept."""
        if self.features is None:
            return self
        probabilities = None if self.probabilities is None else self.probabilities[indices]
        return dataclasses.replace(
            self,
            n=len(indices),
            features=self.features[indices],
            probabilities=probabilities,
            streamed_moments=None,
            streamed_score=None,
        )


class Accumulator:
    """Statistics of a set as it streams by: ``add`` every batch, then ``finish``.

    Args:
      size: examples that will come, which a score's parts depend on.
      keep: whether to keep features and probabilities.
      splits: parts of the score.
    """

    def __init__(self, size: int, *, keep: bool, splits: int = 10):
        self._size, self._keep, self._splits = size, keep, splits
        self._seen = np.zeros(size, bool)
        self._waiting: list[np.ndarray] = []
        self._moments: Moments | None = None
        self._score: ScoreSums | None = None
        self._features: np.ndarray | None = None
        self._probabilities: np.ndarray | None = None

    def add(self, indices: np.ndarray, features: np.ndarray, probabilities: np.ndarray | None = None) -> None:
        """A batch of features ``[B, F]`` and probabilities ``[B, K]``, with the places ``[B]`` of its examples.

        Raises:
          ValueError: if an example came before, or the features are not finite.
        """
        if self._seen[indices].any() or len(np.unique(indices)) != len(indices):
            raise ValueError("expected every example once, got one for the second time; look at the batches")
        self._seen[indices] = True
        if self._keep:
            self._features = _stored(self._features, self._size, indices, features)
            if probabilities is not None:
                self._probabilities = _stored(self._probabilities, self._size, indices, probabilities)
            return
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= _CHUNK:
            self._flush()
        if probabilities is not None and self._size >= self._splits:
            if self._score is None:
                self._part = inception_score.parts(self._size, splits=self._splits)
                self._score = inception_score.no_sums(self._splits, probabilities.shape[1])
            self._score = inception_score.add(self._score, self._part[indices], probabilities)

    def finish(self, **about: Any) -> Statistics:
        """The statistics; ``about`` are the other fields of :class:`Statistics`.

        Raises:
          ValueError: if examples are missing.
        """
        if not self._seen.all():
            raise ValueError(f"expected {self._size} examples, got {int(self._seen.sum())}")
        self._flush()
        return Statistics(
            n=self._size,
            features=self._features,
            probabilities=self._probabilities,
            streamed_moments=self._moments,
            streamed_score=self._score,
            **about,
        )

    def _flush(self) -> None:
        if self._waiting:
            new = moments(np.concatenate(self._waiting))
            self._moments = new if self._moments is None else merge(self._moments, new)
            self._waiting = []


def summarise(
    examples: ExampleSet | np.ndarray,
    network: FeatureNetwork,
    *,
    keep: bool = True,
    splits: int = 10,
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Statistics:
    """Statistics of a set of examples in the features of ``network``.

    Args:
      examples: a set, or an array of what the network takes, such as uint8 images ``[N, H, W, C]``.
      network: what the features come from.
      keep: keep features and probabilities; without, memory does not grow with the set.
      splits: parts of a score that is summed on the way, where they are not kept.
      batch_size: examples per call of the network; its own, if not given.
      advance: called with the number of examples that were done, for a progress bar.
    """
    examples = examples if isinstance(examples, ExampleSet) else _set_for(network, examples)
    size = batch_size or network.batch_size
    gathered, digest = Accumulator(examples.size, keep=keep, splits=splits), 0
    shapes: set[tuple[int, ...]] = set()
    running: deque[tuple[np.ndarray, Callable]] = deque()

    def collect() -> None:
        indices, result = running.popleft()
        gathered.add(indices, *result())
        advance(len(indices))

    for indices, part, length in examples.batches(size):
        network.check(part, length)
        running.append((indices, network.begin(part, size, length)))
        digest += sum(map(_digest, part if length is None else (x[:n] for x, n in zip(part, length))))
        shapes.add(part.shape[1:])
        if len(running) > 1:  # the next examples are read while these are computed
            collect()
    while running:
        collect()
    return gathered.finish(
        name=examples.name,
        split=examples.split,
        fingerprint=f"{digest % 2**256:064x}",
        quantisation=examples.quantisation,
        network=network.name,
        network_hash=network.hash,
        resize=network.resize,
        shape=shapes.pop() if len(shapes) == 1 else None,
    )


def save_statistics(path: str | pathlib.Path, statistics: Statistics) -> None:
    """Writes statistics as safetensors, with the features if they were kept."""
    found = statistics.moments
    arrays = {"mean": found.mean, "scatter": found.scatter}
    arrays |= {name: getattr(statistics, name) for name in ("features", "probabilities") if _has(statistics, name)}
    if statistics.streamed_score is not None:
        arrays |= {f"score.{name}": value for name, value in statistics.streamed_score._asdict().items()}
    about = {name: getattr(statistics, name) for name in _ABOUT}
    metadata = {"format": _FORMAT, "about": json.dumps(about)}
    write_tensors(path, arrays, metadata)


def load_statistics(path: str | pathlib.Path) -> Statistics:
    """Statistics from a file of :func:`save_statistics`.

    Raises:
      DataError: if it is none.
    """
    expected = "statistics that --save-statistics wrote"
    arrays, metadata = read_tensors(path, expected)
    try:
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"it says {metadata.get('format')!r}")
        about = parse_json(metadata["about"])
        about = checked(Statistics, {name: about[name] for name in _ABOUT})
        _check_shapes(arrays, about["n"])
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected {expected}, cannot read them ({said(error)})") from None
    score = [arrays[name] for name in _SCORE if name in arrays]
    return Statistics(
        **about,
        features=arrays.get("features"),
        probabilities=arrays.get("probabilities"),
        streamed_moments=Moments(about["n"], arrays["mean"], arrays["scatter"]),
        streamed_score=ScoreSums(*score) if score else None,
    )


_SCORE = {f"score.{field}": axes for field, axes in zip(ScoreSums._fields, ("S", "SK", "S"))}
_AXES = {"mean": "F", "scatter": "FF", "features": "NF", "probabilities": "NK", **_SCORE}


def _check_shapes(arrays: dict[str, np.ndarray], n: int) -> None:
    """That the arrays are of statistics of ``n`` examples, and fit together."""
    sides = {"N": n}
    there = ["mean", "scatter", *(_SCORE if _SCORE.keys() & arrays.keys() else ())]
    for name in [*there, *sorted(arrays.keys() - there)]:
        if name not in arrays or name not in _AXES:
            raise ValueError(f"{name[:80]!r} is {'not of statistics' if name in arrays else 'missing'}")
        axes, array = _AXES[name], arrays[name]
        fits = len(axes) == array.ndim and all(sides.setdefault(*pair) == pair[1] for pair in zip(axes, array.shape))
        if not fits or array.dtype.kind not in "fi" or not np.isfinite(array).all():
            known = ", ".join(f"{axis} = {side}" for axis, side in sides.items())
            raise ValueError(
                f"{name!r} should be finite numbers [{', '.join(axes)}] of {known}, got {array.dtype} {array.shape}"
            )


_ABOUT = ("name", "split", "n", "fingerprint", "quantisation", "network", "network_hash", "resize", "shape")


def _has(statistics: Statistics, name: str) -> bool:
    return getattr(statistics, name) is not None


def _stored(kept: np.ndarray | None, size: int, indices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    kept = np.empty((size, rows.shape[1]), np.float32) if kept is None else kept
    kept[indices] = rows
    return kept


def _set_for(network: FeatureNetwork, examples: np.ndarray) -> ExampleSet:
    field = network.takes[0]
    if field.kind is PIXELS and len(field.shape) == 3:
        return from_array(examples)
    return from_array(examples, field._replace(shape=examples.shape[1:]))


def _digest(example: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(repr(example.shape).encode() + example.tobytes()).digest(), "big")
