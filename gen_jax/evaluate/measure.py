"""All figures of one set of generated examples against one set of reference examples."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gen_jax.checks import Count, plain
from gen_jax.evaluate.bootstrap import half_samples, interval
from gen_jax.evaluate.extrapolate import extrapolate
from gen_jax.evaluate.frechet import frechet_distance
from gen_jax.evaluate.kid import kernel_distance
from gen_jax.evaluate.memorisation import memorisation
from gen_jax.evaluate.modes import MIXTURES, modes
from gen_jax.evaluate.precision_recall import overlap
from gen_jax.evaluate.statistics import Statistics


@plain
class Choices:
    """What the metrics depend on besides the examples and the network."""

    neighbours: Count = 3
    """k of precision and recall."""
    density_neighbours: Count = 5
    """k of density and coverage."""
    splits: Count = 10
    """Parts that a score is the mean over; larger parts have less bias."""
    subsets: Count = 100
    """Random subsets that a kernel distance is the mean over."""
    subset_size: Count = 1000
    """Examples in each, from either side."""


class Figure(NamedTuple):
    """A measured value."""

    value: float
    spread: float | None = None
    """Standard deviation over splits or subsets."""
    settings: str = ""
    """What else it depends on."""
    interval: tuple[float, float] | None = None
    """Where it would lie with other examples of the same laws, 19 times of 20."""


Figures = dict[str, Figure]
Metric = Callable[[Statistics, Statistics, Choices], Figures]


def _frechet(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    return {"frechet_distance": Figure(frechet_distance(generated.moments, reference.moments))}


def _kernel(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    x, y = (side.kept("a kernel distance") for side in (generated, reference))
    value, spread = kernel_distance(x, y, subsets=settings.subsets, subset_size=settings.subset_size)
    size = min(settings.subset_size, len(x), len(y))
    return {"kid": Figure(value, spread, f"{settings.subsets} subsets of {size}")}


def _overlap(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    k, wide = settings.neighbours, settings.density_neighbours
    x, y = (side.kept("precision and recall") for side in (generated, reference))
    found = overlap(x, y, neighbours=k, density_neighbours=wide)
    of = {"precision": k, "recall": k, "density": wide, "coverage": wide}
    return {name: Figure(value, settings=f"k={of[name]}") for name, value in found._asdict().items()}


def _score(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    value, spread = generated.score(settings.splits)
    return {"score": Figure(value, spread if settings.splits > 1 else None, f"{settings.splits} splits")}


def _frechet_infinity(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    generated.kept("an extrapolation")

    def part(indices: np.ndarray) -> float:
        return frechet_distance(generated.take(indices).moments, reference.moments)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the sizes: that they are small is the point
        line = extrapolate(part, generated.n)
    return {"frechet_distance_infinity": Figure(line.value, settings=f"{len(line.sizes)} sizes from {line.sizes[0]:,}")}


def _score_infinity(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    generated.kept("an extrapolation")
    line = extrapolate(lambda indices: generated.take(indices).score(1)[0], generated.n)
    return {"score_infinity": Figure(line.value, settings=f"{len(line.sizes)} sizes from {line.sizes[0]:,}")}


def _memorisation(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    found = memorisation(*(side.kept("nearest neighbours") for side in (generated, reference)))
    return {name: Figure(value) for name, value in found._asdict().items()}


def _modes(generated: Statistics, reference: Statistics, settings: Choices) -> Figures:
    if reference.name not in MIXTURES or (reference.network, reference.shape) != ("identity", (2,)):
        raise ValueError(
            f"modes are counted of points [N, 2] against the data {' or '.join(MIXTURES)}, in their own features; got"
            f" {reference.name!r} {reference.shape} in {reference.network!r}"
        )
    mixture = MIXTURES[reference.name]()
    if modes(reference.kept("modes"), mixture).good < 0.9:  # a perfect sampler's are 0.989
        raise ValueError(f"the reference is called {reference.name!r}, but is not that mixture; give it another name")
    found = modes(generated.kept("modes"), mixture)
    of = f"{len(mixture.centres)} of deviation {mixture.deviation:g}"
    return {
        "modes_found": Figure(float(found.found), settings=of),
        "good_share": Figure(found.good, settings=of),
        "reverse_kl": Figure(found.reverse_kl, settings=of),
    }


METRICS: Mapping[str, Metric] = {
    "fid": _frechet,
    "kid": _kernel,
    "prdc": _overlap,
    "is": _score,
    "fid_infinity": _frechet_infinity,
    "is_infinity": _score_infinity,
    "memorisation": _memorisation,
    "modes": _modes,
}
"""What can be asked for: Frechet and kernel distance; precision, recall, density and coverage; the score; distance and
score of endless examples; authenticity and memorised share; modes of a reference that is a known mixture."""

STREAMING = ("fid", "is")
"""Those that need no features kept."""


def measure(
    generated: Statistics,
    reference: Statistics,
    metrics: Sequence[str] = ("fid", "prdc", "kid"),
    *,
    settings: Choices = Choices(),
    replicates: int = 0,
    seed: int = 0,
) -> Figures:
    """Figures of generated against reference examples, by name.

    Args:
      generated: of the generated examples.
      reference: of the reference, in the same network's features.
      metrics: keys of :data:`METRICS`.
      settings: what they depend on.
      replicates: half-samples that intervals are made from; 0 makes none.
      seed: of the half-samples.

    Raises:
      ValueError: if a metric is not known or cannot be had from these statistics, or the networks differ.
    """
    for name in metrics:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; there are {', '.join(METRICS)}")
    if (generated.network, generated.network_hash) != (reference.network, reference.network_hash):
        raise ValueError(
            f"{generated.name} was measured with the network {generated.network} {generated.network_hash}, "
            f"{reference.name} with {reference.network} {reference.network_hash}; measure both with one"
        )
    if generated.resize == "none" and generated.shape != reference.shape:
        raise ValueError(
            f"the network {generated.network} does not resize, so that generated and reference examples should have "
            f"one shape, got {generated.shape} and {reference.shape}"
        )
    found = _figures(generated, reference, metrics, settings)
    if not replicates:
        return found

    def halves(i: np.ndarray, j: np.ndarray) -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of sizes: the halves' are not the figure's
            part = _figures(generated.take(i), reference.take(j), metrics, settings)
        return {name: figure.value for name, figure in part.items()}

    spreads = half_samples(halves, generated.n, reference.n, replicates=replicates, seed=seed)
    return {name: figure._replace(interval=interval(figure.value, spreads[name])) for name, figure in found.items()}


def _figures(generated: Statistics, reference: Statistics, metrics: Sequence[str], settings: Choices) -> Figures:
    found: Figures = {}
    for name in metrics:
        found |= METRICS[name](generated, reference, settings)
    return found
