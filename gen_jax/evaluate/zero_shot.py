"""How well classes are told that had no labelled example: by a classifier of features that were generated for them.

Xian, Schiele and Akata 2017, "Zero-shot learning - the good, the bad and the ugly" (arXiv:1703.04394). Accuracies are
means over classes of the share of a class's examples that are told right, so that a class counts as any other:

    zero-shot      T = A(unseen examples, among unseen classes)                                               (1)
    generalised    S = A(seen), U = A(unseen), each among all classes;   H = 2 U S / (U + S)                  (2)

The classifier is linear, a softmax over the classes with a penalty on its weights,

    argmin  -1/N sum_i log softmax(f_i W + b)[y_i] + strength / 2 ||W||^2                                     (3)

of features less their mean and by their deviation, found by accelerated descent (Nesterov 1983) from zero; it has one
minimum, and no step is chosen by looking at what is tested.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.programs import Program

Labelled = tuple[np.ndarray, np.ndarray]  # features [N, F] and labels [N]
_ITERATIONS = 300


class ZeroShot(NamedTuple):
    """Shares of (1) and (2)."""

    zero_shot: float
    seen: float
    unseen: float
    harmonic: float


def zero_shot(
    generated: Labelled, train: Labelled, test_seen: Labelled, test_unseen: Labelled, *, strength: float = 1e-4
) -> ZeroShot:
    """(1) by a classifier of ``generated`` features of unseen classes, (2) by one of them and of ``train``."""
    among_unseen = classifier(*generated, strength=strength)
    among_all = classifier(*(np.concatenate(pair) for pair in zip(train, generated)), strength=strength)
    t = per_class_accuracy(among_unseen(test_unseen[0]), test_unseen[1])
    seen, unseen = (per_class_accuracy(among_all(x), y) for x, y in (test_seen, test_unseen))
    return ZeroShot(t, seen, unseen, harmonic_mean(seen, unseen))


def per_class_accuracy(found: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the classes of ``labels [N]`` of the share of each that ``found [N]`` has right."""
    return float(np.mean([(found[labels == label] == label).mean() for label in np.unique(labels)]))


def harmonic_mean(a: float, b: float) -> float:
    """``2 a b / (a + b)``; 0 where both are."""
    return 2 * a * b / (a + b) if a + b else 0.0


def classifier(features: np.ndarray, labels: np.ndarray, *, strength: float = 1e-4) -> Any:
    """A function from features ``[N, F]`` to labels ``[N]``, by (3) on examples ``[N, F]`` with ``labels [N]``."""
    known, rows = np.unique(labels, return_inverse=True)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.concatenate([(x - mean) / deviation, np.ones((len(x), 1))], axis=1).astype(np.float32)

    x = scaled(features)
    steepest = 0.5 * float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) + strength  # of the slope of (3)
    weights = np.asarray(_descend(x, rows.astype(np.int32), np.float32(strength), np.float32(steepest), len(known)))
    return lambda examples: known[(scaled(examples) @ weights).argmax(axis=1)]


def _descent(x: jax.Array, rows: jax.Array, strength: jax.Array, steepest: jax.Array, classes: int) -> jax.Array:
    def cost(weights: jax.Array) -> jax.Array:
        chances = jax.nn.log_softmax(x @ weights)
        return -chances[jnp.arange(len(x)), rows].mean() + strength / 2 * jnp.square(weights[:-1]).sum()

    def step(carried: tuple[jax.Array, jax.Array], i: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        now, before = carried
        ahead = now + i / (i + 3) * (now - before)
        return (ahead - jax.grad(cost)(ahead) / steepest, now), None

    start = jnp.zeros((x.shape[1], classes))
    return jax.lax.scan(step, (start, start), jnp.arange(_ITERATIONS, dtype=jnp.float32))[0][0]


_descend = Program(_descent, static_argnums=(4,))
