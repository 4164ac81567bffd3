"""The ruler: how far generated images are from real ones, in features of a small classifier. :func:`measure`
gives every figure at once; each metric is also a pure function of features, with its definition at the head
of its file. Distances are named after their features (``FD-digits``, ``FD-fashion``, ``FD-random``), because
those in other features, Inception's above all, are other numbers. A :class:`Card` carries a figure together
with everything it depends on, and :func:`compare` refuses to set figures side by side that were measured
differently.
"""

from gen_jax.evaluate.card import Card, compare, versions
from gen_jax.evaluate.features import (
    FeatureNetwork,
    load_feature_network,
    read_feature_network,
    save_feature_network,
)
from gen_jax.evaluate.frechet import frechet_distance, moments
from gen_jax.evaluate.inception_score import classifier_score
from gen_jax.evaluate.kid import kernel_distance
from gen_jax.evaluate.measure import measure, measure_features
from gen_jax.evaluate.precision_recall import Overlap, overlap

__all__ = [
    "Card",
    "FeatureNetwork",
    "Overlap",
    "classifier_score",
    "compare",
    "frechet_distance",
    "kernel_distance",
    "load_feature_network",
    "measure",
    "measure_features",
    "moments",
    "overlap",
    "read_feature_network",
    "save_feature_network",
    "versions",
]
