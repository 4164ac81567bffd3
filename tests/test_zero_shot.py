"""Classes without examples: means over classes, the harmonic mean, and scikit-learn's classifier."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gen_jax.evaluate.zero_shot import classifier, harmonic_mean, per_class_accuracy, zero_shot


def test_a_class_counts_as_any_other():
    """90 of a class of 100 and 1 of a class of 4: 0.575, where the share of all is 0.875."""
    labels = np.repeat([3, 7], [100, 4])
    found = np.concatenate([np.repeat([3, 7], [90, 10]), [7, 3, 3, 5]])
    assert per_class_accuracy(found, labels) == pytest.approx(0.575)


@pytest.mark.parametrize("a, b, h", [(0.484, 0.601, 0.536), (0.576, 0.706, 0.635), (0.5, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_the_harmonic_mean(a, b, h):
    """The first two are published pairs with their H, to three decimals."""
    assert harmonic_mean(a, b) == pytest.approx(h, abs=6e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_classifier_is_the_penalised_softmax(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([2, 5, 9], 300)
    features = rng.normal(size=(300, 4)) + 0.9 * rng.normal(size=(10, 4))[labels]
    scaled = (features - features.mean(0)) / features.std(0)
    strength = 0.01
    theirs = LogisticRegression(C=1 / (len(labels) * strength), tol=1e-8, max_iter=1000).fit(scaled, labels)
    ours = classifier(features, labels, strength=strength)
    agree = ours(features) == theirs.predict(scaled)
    assert agree.mean() > 0.99  # points on the border may fall either way


def test_generated_examples_of_unseen_classes_decide():
    """Four separate clusters, two of them unseen: made where they are all is right, made at each other's nothing is."""
    rng = np.random.default_rng(0)
    centres = 6.0 * np.eye(4)
    draw = lambda labels, at: (centres[at] + rng.normal(size=(len(labels), 4)), labels)  # noqa: E731
    seen, unseen = np.repeat([0, 1], 50), np.repeat([2, 3], 50)
    parts = draw(seen, seen), draw(seen, seen), draw(unseen, unseen)
    right = zero_shot(draw(unseen, unseen), *parts)
    assert min(right) > 0.97
    swapped = zero_shot(draw(unseen, 5 - unseen), *parts)
    assert swapped.zero_shot < 0.03 and swapped.harmonic < 0.06 and swapped.seen > 0.97
