"""Metrics against closed forms, scipy, and the plain definitions."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from gen_jax import evaluate
from gen_jax.evaluate import precision_recall as pr
from gen_jax.evaluate.kid import squared_discrepancy
from gen_jax.evaluate.moments import Moments, merge


def generator(seed=0):
    return np.random.default_rng(seed)


def with_moments(n, mean, covariance, seed=0):
    """``n`` points whose sample mean and covariance are exactly as given (up to rounding)."""
    x = generator(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    values, vectors = np.linalg.eigh(covariance)
    return white @ (vectors * np.sqrt(np.maximum(values, 0))).T + mean


def gaussian_distance(m1, c1, m2, c2):
    """The closed form for covariances that commute."""
    return np.sum((m1 - m2) ** 2) + np.sum(
        (np.sqrt(np.maximum(np.linalg.eigvalsh(c1), 0)) - np.sqrt(np.maximum(np.linalg.eigvalsh(c2), 0))) ** 2
    )


# Frechet distance


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("zeros", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_frechet_distance_of_gaussians(offset, zeros, seed):
    g = generator(seed)
    width = 8
    basis = np.linalg.qr(g.normal(size=(width, width)))[0]
    deviations = [np.sort(np.r_[np.zeros(zeros), g.uniform(0.5, 3, width - zeros)]) for _ in range(2)]
    c1, c2 = ((basis * deviation**2) @ basis.T for deviation in deviations)
    m1, m2 = g.normal(size=width) + offset, g.normal(size=width) + offset
    x, y = with_moments(500, m1, c1, 1), with_moments(300, m2, c2, 2)
    expected = np.sum((m1 - m2) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
    assert evaluate.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert evaluate.frechet_distance(y, x) == pytest.approx(expected, rel=1e-6)
    assert gaussian_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_frechet_distance_equals_the_matrix_root_of_scipy(seed):
    g = generator(seed)
    x = g.normal(size=(200, 12)) @ g.normal(size=(12, 12))
    y = g.normal(size=(150, 12)) @ g.normal(size=(12, 12)) + 0.3
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * root)
    assert evaluate.frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


@pytest.mark.filterwarnings("ignore:a Frechet distance from")
@pytest.mark.parametrize("n", [2, 5, 40, 400])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_frechet_distance_of_a_set_to_itself_is_zero(n, scale):
    x = scale * generator(n).normal(size=(n, 64))
    order = generator(1).permutation(n)
    assert 0 <= evaluate.frechet_distance(x, x[order]) <= 1e-6 * scale**2
    dead = np.where(np.arange(64) < 20, 0, x)  # features that never fire
    assert 0 <= evaluate.frechet_distance(dead, dead) <= 1e-6 * scale**2


@pytest.mark.filterwarnings("ignore:a Frechet distance from")
@pytest.mark.parametrize("seed", range(5))
def test_frechet_distance_with_fewer_examples_than_features(seed):
    """Rank-deficient sets in different subspaces: the covariances' product has a closed form through the
    data.
    """
    g = generator(seed)
    x, y = g.normal(size=(10, 64)), g.normal(size=(15, 64)) + 1
    a, b = (x - x.mean(0)) / np.sqrt(9), (y - y.mean(0)) / np.sqrt(14)
    nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum()  # as C1 = a'a and C2 = b'b
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum(a**2) + np.sum(b**2) - 2 * nuclear
    assert evaluate.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("n", [1, 7, 8192, 20000])
def test_moments_are_those_of_numpy_whatever_the_parts(n, offset):
    x = generator(n).normal(size=(n, 5)) * np.array([1, 2, 3, 1e-3, 10]) + offset
    found = evaluate.moments(x)
    cuts = np.sort(generator(1).integers(0, n + 1, 3))
    parts = [evaluate.moments(part) for part in np.split(x, cuts) if len(part)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merge(merged, part)
    for got in (found, merged):
        assert got.n == n
        np.testing.assert_allclose(got.mean, x.mean(0), rtol=1e-12)
        if n > 1:
            expected = np.cov(x - x[0], rowvar=False)
            np.testing.assert_allclose(got.covariance, expected, rtol=1e-6, atol=1e-9)


def test_covariance_is_unbiased():
    x = np.array([[0.0, 0.0], [2.0, 4.0]])
    np.testing.assert_allclose(evaluate.moments(x).covariance, [[2, 4], [4, 8]])


def test_frechet_distance_refuses_and_warns():
    x = generator().normal(size=(30, 4))
    with pytest.raises(ValueError, match="2 examples"):
        evaluate.frechet_distance(x[:1], x)
    with pytest.raises(ValueError, match="finite"):
        evaluate.frechet_distance(np.where(x > 1, np.nan, x), x)
    with pytest.raises(ValueError, match="width"):
        evaluate.frechet_distance(x[:, :3], x)
    with pytest.warns(UserWarning, match="3 examples of 4 features"):
        evaluate.frechet_distance(x[:3], x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate.frechet_distance(Moments(30, np.zeros(4), np.eye(4)), x)


# Precision, recall, density, coverage


def precision_and_recall(generated, reference, neighbours=3):
    return evaluate.overlap(generated, reference, neighbours=neighbours, density_neighbours=1)[:2]


def density_and_coverage(generated, reference, neighbours=5):
    return evaluate.overlap(generated, reference, neighbours=1, density_neighbours=neighbours)[2:]


def squared_radii(points, k):
    return pr.squared_radii(points, [k])[0]


def plain_radii(x, k):
    distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    return np.array([np.sort(np.delete(row, i))[k - 1] for i, row in enumerate(distances)])


def plain(generated, reference, k):
    """All four from the definitions, by every pair."""
    distances = np.sqrt(((reference[:, None] - generated[None]) ** 2).sum(-1))
    in_reference = distances <= plain_radii(reference, k)[:, None]
    in_generated = distances <= plain_radii(generated, k)[None]
    return (
        in_reference.any(0).mean(),
        in_generated.any(1).mean(),
        in_reference.sum() / (k * len(generated)),
        in_reference.any(1).mean(),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("m", "n"), [(50, 50), (40, 73), (91, 30)])
def test_all_four_equal_their_definitions(m, n, k, monkeypatch):
    monkeypatch.setattr(pr, "_BLOCK", 200)  # several blocks
    g = generator(m + k)
    generated, reference = 0.7 * g.normal(size=(m, 6)) + 1e3, g.normal(size=(n, 6)) + 0.2 + 1e3
    found = (
        *precision_and_recall(generated, reference, neighbours=k),
        *density_and_coverage(generated, reference, neighbours=k),
    )
    np.testing.assert_allclose(found, plain(generated, reference, k), atol=1e-12)
    np.testing.assert_allclose(np.sqrt(squared_radii(generated - 1e3, k)), plain_radii(generated - 1e3, k))


def test_all_four_by_hand():
    reference = np.array([[0.0], [1.0], [2.0], [10.0], [12.0]])  # radii for k = 1: 1, 1, 1, 2, 2
    generated = np.array([[0.5], [3.0], [13.0], [40.0]])  # radii: 2.5, 2.5, 10, 27
    # In balls of the reference: 0.5 (of 0 and 1), 3.0 (of 2, on its edge), 13 (of 12); 40 in none.
    assert precision_and_recall(generated, reference, neighbours=1) == (0.75, 1.0)
    assert density_and_coverage(generated, reference, neighbours=1) == (4 / 4, 4 / 5)
    # The other way about: 0, 1, 2 and the rest lie in balls of the generated, see recall above.
    assert precision_and_recall(reference, generated, neighbours=1) == (1.0, 0.75)


def test_a_copy_of_the_reference():
    x = generator().normal(size=(60, 8)).astype(np.float32)
    assert precision_and_recall(x[::-1], x) == (1.0, 1.0)
    density, coverage = density_and_coverage(x[::-1], x, neighbours=5)
    assert (density, coverage) == (6 / 5, 1.0)  # each ball holds its centre and five neighbours, one on its edge


def test_duplicates_are_at_distance_zero():
    x = np.repeat(generator().normal(size=(10, 8)), 6, axis=0) + 100
    assert squared_radii(x, 5).max() < 1e-9 < 1 < squared_radii(x, 6).min()
    assert precision_and_recall(x, x[:30]) == (0.5, 1.0)


def test_far_apart_sets_share_nothing():
    x = generator().normal(size=(60, 8))
    assert precision_and_recall(x, x + 100) == (0.0, 0.0)
    assert density_and_coverage(x, x + 100) == (0.0, 0.0)


@pytest.mark.parametrize(("n", "m", "k"), [(60, 60, 5), (80, 40, 3), (40, 80, 5)])
def test_expectation_of_density_and_coverage_under_one_law(n, m, k):
    """E coverage = 1 - prod_{j=1..k} (N - j) / (M + N - j), in any law without atoms; E density = 1."""
    g = generator(n)
    values = np.array(
        [density_and_coverage(g.normal(size=(m, 3)), g.normal(size=(n, 3)), neighbours=k) for _ in range(300)]
    )
    coverage = 1 - np.prod([(n - j) / (m + n - j) for j in range(1, k + 1)])
    errors = values.std(0) / np.sqrt(len(values))
    assert abs(values[:, 1].mean() - coverage) < 4 * errors[1] and errors[1] < 0.01
    # Each of the M lies in a given ball with probability k / N in the mean, by symmetry.
    assert abs(values[:, 0].mean() - 1) < 4 * errors[0] and errors[0] < 0.02


def test_neighbours_are_refused_where_there_are_none():
    x = generator().normal(size=(5, 3))
    for function in (precision_and_recall, density_and_coverage):
        with pytest.raises(ValueError, match="more than 5 examples"):
            function(x, x, neighbours=5)
        with pytest.raises(ValueError, match="one width"):
            function(x[:, :2], x, neighbours=2)
        with pytest.raises(ValueError, match="finite"):
            function(np.full((9, 3), np.inf), x, neighbours=2)


# Score


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("splits", [1, 4])
def test_score_at_its_ends(classes, splits):
    certain = np.tile(np.eye(classes), (200, 1))
    assert evaluate.classifier_score(certain, splits=1) == pytest.approx((classes, 0))
    assert evaluate.classifier_score(certain, splits=splits)[0] <= classes + 1e-9
    uniform = np.full((200, classes), 1 / classes)
    assert evaluate.classifier_score(uniform, splits=splits) == pytest.approx((1, 0))
    same = np.tile([0.9] + [0.1 / (classes - 1)] * (classes - 1), (200, 1))
    assert evaluate.classifier_score(same, splits=splits) == pytest.approx((1, 0))


def test_score_by_hand():
    p = np.array([[0.8, 0.2], [0.2, 0.8]])
    expected = np.exp(0.8 * np.log(1.6) + 0.2 * np.log(0.4))
    assert evaluate.classifier_score(p, splits=1)[0] == pytest.approx(expected)


def test_score_does_not_depend_on_the_order_of_classes():
    """Sets ordered by class lose everything when they are cut without shuffling."""
    ordered = np.repeat(np.eye(10), 100, axis=0)
    assert evaluate.classifier_score(ordered, splits=10)[0] > 8


def test_score_refuses_what_are_no_probabilities():
    for wrong in (np.ones((20, 3)), np.full((20, 3), np.nan), generator().normal(size=(20, 3))):
        with pytest.raises(ValueError, match="sum to 1"):
            evaluate.classifier_score(wrong)
    with pytest.raises(ValueError, match="at least 10"):
        evaluate.classifier_score(np.full((9, 2), 0.5))


# Kernel distance


@pytest.mark.parametrize(("width", "shift"), [(16, 2.0), (4, 0.5), (8, 4.0)])
def test_kernel_distance_of_shifted_gaussians(width, shift):
    """For N(m, I) against N(0, I), with M = |m|^2: 3M/d + 3M^2/d^2 + (M^3 + 6M^2 + 3Md + 6M)/d^3."""
    d, m2 = width, shift
    expected = 3 * m2 / d + 3 * m2**2 / d**2 + (m2**3 + 6 * m2**2 + 3 * m2 * d + 6 * m2) / d**3
    if (width, shift) == (16, 2.0):
        assert expected == 0.4560546875
    g = generator(width)
    mean = np.zeros(d)
    mean[0] = np.sqrt(m2)
    values = [squared_discrepancy(g.normal(size=(400, d)) + mean, g.normal(size=(300, d))) for _ in range(60)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < 4 * error and error < 0.06 * expected


def test_kernel_distance_is_unbiased_and_drops_the_diagonal():
    g = generator(3)
    values = [squared_discrepancy(g.normal(size=(12, 3)), g.normal(size=(9, 3))) for _ in range(4000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    # By hand, k(x, y) = (x y + 1)^3: k(1, 2) = 27, k(0, 3) = 1, and k(1, 0), k(1, 3), k(2, 0), k(2, 3) = 1, 64, 1, 343.
    assert squared_discrepancy(x, y) == pytest.approx(27 + 1 - 2 * (1 + 64 + 1 + 343) / 4)


def test_kernel_distance_over_subsets():
    g = generator(4)
    x, y = g.normal(size=(300, 4)), g.normal(size=(400, 4)) + 0.5
    whole = squared_discrepancy(x, y)
    mean, spread = evaluate.kernel_distance(x, y, subsets=200, subset_size=100)
    assert abs(mean - whole) < 5 * spread / np.sqrt(200) and spread > 0
    assert evaluate.kernel_distance(x, y, subsets=3) == evaluate.kernel_distance(x, y, subsets=3)
    assert evaluate.kernel_distance(x, y, seed=1, subsets=3) != evaluate.kernel_distance(x, y, subsets=3)
    with pytest.raises(ValueError, match="2 examples"):
        evaluate.kernel_distance(x[:1], y)
