"""All figures of one set of generated images against one set of reference images."""

import numpy as np

from gen_jax.evaluate.features import FeatureNetwork
from gen_jax.evaluate.frechet import frechet_distance
from gen_jax.evaluate.inception_score import classifier_score
from gen_jax.evaluate.kid import kernel_distance
from gen_jax.evaluate.precision_recall import overlap


def measure(
    generated: np.ndarray,
    reference: np.ndarray,
    network: FeatureNetwork,
    *,
    seed: int = 0,
    neighbours: int = 3,
    density_neighbours: int = 5,
    splits: int = 1,
    subsets: int = 100,
    subset_size: int = 1000,
    batch_size: int = 500,
) -> dict[str, float | None]:
    """Every metric of generated against reference images.

    Args:
      generated: uint8 ``[M, H, W, C]``.
      reference: uint8 ``[N, H, W, C]``.
      network: what the features come from.
      seed: of the splits and subsets.
      neighbours: k of precision and recall.
      density_neighbours: k of density and coverage.
      splits: parts that the score is the mean over; larger parts have less bias.
      subsets: random subsets that the kernel distance is the mean over.
      subset_size: examples in each.
      batch_size: images per call of the network.

    Returns:
      ``frechet_distance``, ``precision``, ``recall``, ``density``, ``coverage``, ``score`` (None where the
      network knows no classes), ``kid`` and ``kid_spread``.
    """
    if generated.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"generated and reference images should have one shape, got {generated.shape[1:]} and {reference.shape[1:]}"
        )
    return measure_features(
        network.extract(generated, batch_size),
        network.extract(reference, batch_size)[0],
        seed=seed,
        neighbours=neighbours,
        density_neighbours=density_neighbours,
        splits=splits,
        subsets=subsets,
        subset_size=subset_size,
    )


def measure_features(
    generated: tuple[np.ndarray, np.ndarray | None],
    reference: np.ndarray,
    *,
    seed: int = 0,
    neighbours: int = 3,
    density_neighbours: int = 5,
    splits: int = 1,
    subsets: int = 100,
    subset_size: int = 1000,
) -> dict[str, float | None]:
    """:func:`measure` on extracted features, for a reference that serves many times.

    Args:
      generated: features ``[M, F]`` and probabilities ``[M, K]`` or None, as ``extract`` gives them.
      reference: features ``[N, F]``.
      seed: of the splits and subsets.
      neighbours: k of precision and recall.
      density_neighbours: k of density and coverage.
      splits: parts that the score is the mean over.
      subsets: random subsets that the kernel distance is the mean over.
      subset_size: examples in each.
    """
    features, probabilities = generated
    shares = overlap(features, reference, neighbours=neighbours, density_neighbours=density_neighbours)
    kid, kid_spread = kernel_distance(features, reference, subsets=subsets, subset_size=subset_size, seed=seed)
    score = None if probabilities is None else classifier_score(probabilities, splits=splits, seed=seed)[0]
    return {
        "frechet_distance": frechet_distance(features, reference),
        **shares._asdict(),
        "score": score,
        "kid": kid,
        "kid_spread": kid_spread,
    }
