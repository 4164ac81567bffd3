"""The ruler: how far generated examples are from real ones, in features of them.

Each metric is a pure function of features, with its definition at the head of its file, and what a set needs for it can
be gathered while the set streams by: ``summarise`` goes over the examples once, ``measure`` compares two summaries,
``cards`` says what every figure depends on, and ``compare`` refuses to set figures side by side that were measured
differently.

>>> import numpy as np
>>> from gen_jax import evaluate
>>> a, b = np.random.default_rng(0).integers(0, 256, (2, 300, 8, 8, 1), dtype=np.uint8)
>>> network = evaluate.load_feature_network("digits", (8, 8, 1))
>>> generated, reference = (evaluate.summarise(images, network) for images in (a, b))
>>> figures = evaluate.measure(generated, reference, ["fid", "prdc"])
>>> evaluate.cards(figures, generated, reference)[0].metric
'FD-digits'

Distances are named after their features (``FD-digits``, ``FD-fashion``, ``FD-random``): an FID is one in Inception's,
and other features give other numbers. Examples need be no images; ``features_of`` has features for every kind of field:
``FD-random-frames`` of videos, ``FD-identity`` of real numbers, ``FD-pairs`` of symbols and ``FD-words`` of words.

>>> from gen_jax.fields import REAL, Field
>>> ring = evaluate.ring()
>>> field = Field((2,), REAL)
>>> a, b = (evaluate.from_array(ring.sample(500, seed=s).astype("f4"), field, name="ring") for s in (0, 1))
>>> points = [evaluate.summarise(x, evaluate.features_of(field)) for x in (a, b)]
>>> evaluate.measure(*points, ["modes"])["modes_found"].value
8.0
"""

from gen_jax.evaluate.bootstrap import half_samples, interval
from gen_jax.evaluate.card import Card, Provenance, cards, compare, metric_name, versions
from gen_jax.evaluate.extrapolate import Extrapolation, extrapolate
from gen_jax.evaluate.features import (
    FeatureNetwork,
    load_feature_network,
    named_feature_network,
    read_feature_network,
    save_feature_network,
)
from gen_jax.evaluate.frechet import frechet_distance
from gen_jax.evaluate.images import from_folder, open_examples
from gen_jax.evaluate.inception import Inception, load_inception
from gen_jax.evaluate.inception_score import classifier_score
from gen_jax.evaluate.kid import kernel_distance
from gen_jax.evaluate.kinds import features_of, frame_features, identity, pair_frequencies, word_frequencies
from gen_jax.evaluate.measure import METRICS, STREAMING, Choices, Figure, measure
from gen_jax.evaluate.memorisation import Memorisation, Neighbours, memorisation, nearest
from gen_jax.evaluate.modes import Mixture, Modes, grid, modes, ring
from gen_jax.evaluate.moments import Moments, merge, moments
from gen_jax.evaluate.parzen import choose_bandwidth, parzen_log_likelihood
from gen_jax.evaluate.precision_recall import Overlap, overlap
from gen_jax.evaluate.sets import ExampleSet, from_array, from_source
from gen_jax.evaluate.sharpness import detail, high_frequency_energy
from gen_jax.evaluate.statistics import Accumulator, Statistics, load_statistics, save_statistics, summarise

__all__ = [
    "METRICS",
    "STREAMING",
    "Accumulator",
    "Card",
    "Choices",
    "ExampleSet",
    "Extrapolation",
    "FeatureNetwork",
    "Figure",
    "Inception",
    "Memorisation",
    "Mixture",
    "Modes",
    "Moments",
    "Neighbours",
    "Overlap",
    "Provenance",
    "Statistics",
    "cards",
    "choose_bandwidth",
    "classifier_score",
    "compare",
    "detail",
    "extrapolate",
    "features_of",
    "frame_features",
    "frechet_distance",
    "from_array",
    "from_folder",
    "from_source",
    "grid",
    "half_samples",
    "high_frequency_energy",
    "identity",
    "interval",
    "kernel_distance",
    "load_feature_network",
    "load_inception",
    "load_statistics",
    "measure",
    "memorisation",
    "merge",
    "metric_name",
    "modes",
    "moments",
    "named_feature_network",
    "nearest",
    "open_examples",
    "overlap",
    "pair_frequencies",
    "parzen_log_likelihood",
    "read_feature_network",
    "ring",
    "save_feature_network",
    "save_statistics",
    "summarise",
    "versions",
    "word_frequencies",
]
