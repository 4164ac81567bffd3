"""Intervals, figures of endless images, copies of the training set, and modes of toys."""

import numpy as np
import pytest

from gen_jax import evaluate
from gen_jax.evaluate.modes import REACH


def generator(seed=0):
    return np.random.default_rng(seed)


# Intervals


def test_half_samples_give_the_error_of_a_mean():
    """(1) of the module: exactly the variance of the mean, in expectation over halves."""
    x, y = generator(1).normal(size=200), 3 * generator(2).normal(size=100)
    found = evaluate.half_samples(lambda i, j: {"mean": x[i].mean() - y[j].mean()}, 200, 100, replicates=4000)["mean"]
    error = np.sqrt(x.var(ddof=1) / 200 + y.var(ddof=1) / 100)
    assert found.std() == pytest.approx(error, rel=0.05)  # a deviation from 4,000 is known to 1.1 %
    assert abs(found.mean() - (x.mean() - y.mean())) < 4 * error / np.sqrt(4000)


FIGURES = {
    "frechet": lambda x, y: evaluate.frechet_distance(x, y),
    "kernel": lambda x, y: evaluate.kid.squared_discrepancy(x, y),
    "precision": lambda x, y: evaluate.overlap(x, y).precision,
    "recall": lambda x, y: evaluate.overlap(x, y).recall,
    "coverage": lambda x, y: evaluate.overlap(x, y).coverage,
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_spread_of_half_samples_is_that_of_other_draws(name):
    """Against the truth: the standard deviation over sets that are drawn afresh."""

    def draw(seed):
        g = generator(seed)
        return 0.8 * g.normal(size=(160, 3)) + 0.7, g.normal(size=(200, 3))

    figure = FIGURES[name]
    truth = np.std([figure(*draw(seed)) for seed in range(200)], ddof=1)
    spreads = []
    for seed in range(5):
        x, y = draw(1000 + seed)
        halves = evaluate.half_samples(
            lambda i, j, x=x, y=y: {"x": figure(x[i], y[j])}, 160, 200, replicates=60, seed=seed
        )
        spreads.append(halves["x"].std(ddof=1))
    # 200 draws know the truth to 5 %, 300 halves theirs to 4 %; half-sets are larger by terms of second order
    assert 0.8 < np.mean(spreads) / truth < 1.3


def test_intervals_between_sets_of_one_law_are_too_wide_and_not_too_narrow():
    def draw(seed):
        return generator(seed).normal(size=(2, 150, 4))

    truth = np.std([evaluate.frechet_distance(*draw(seed)) for seed in range(200)], ddof=1)
    spreads = []
    for seed in range(8):
        x, y = draw(1000 + seed)
        found = evaluate.half_samples(
            lambda i, j, x=x, y=y: {"x": evaluate.frechet_distance(x[i], y[j])}, 150, 150, replicates=50, seed=seed
        )
        spreads.append(found["x"].std(ddof=1))
    assert 1 < np.mean(spreads) / truth < 2.5


def test_an_interval_is_about_the_value_and_as_wide_as_its_level():
    low, high = evaluate.interval(5.0, generator().normal(9.0, 2.0, 100_000))
    assert (low + high) / 2 == pytest.approx(5.0) and (high - low) / 2 == pytest.approx(1.96 * 2.0, rel=0.01)
    low, high = evaluate.interval(0.0, np.array([-1.0, 1.0]), level=0.6827)
    assert high == pytest.approx(np.sqrt(2), rel=1e-3)
    for replicates, size in ((1, 10), (10, 3)):
        with pytest.raises(ValueError, match="2 replicates and 4 examples"):
            evaluate.half_samples(lambda i, j: {}, size, size, replicates=replicates)


def test_every_metric_has_an_interval():
    net = evaluate.named_feature_network("digits")
    images = generator().integers(0, 256, (2, 260, 8, 8, 1), dtype=np.uint8)
    a, b = (evaluate.summarise(x, net) for x in images)
    settings = evaluate.Choices(splits=2, subsets=3, subset_size=50)
    metrics = [name for name in evaluate.METRICS if name != "modes"]  # which are of points alone
    with np.errstate(all="raise"):
        found = evaluate.measure(a, b, metrics, settings=settings, replicates=4)
    assert len(found) == 11
    for name, figure in found.items():
        assert figure.interval[0] <= figure.value <= figure.interval[1], name
    again = evaluate.measure(a, b, metrics, settings=settings, replicates=4)
    assert again == found


# Endless images


@pytest.mark.parametrize("seed", range(3))
def test_a_line_in_1_over_n_is_found_exactly(seed):
    value, slope = generator(seed).normal(size=2)
    line = evaluate.extrapolate(lambda indices: value + slope / len(indices), 3000)
    assert line.value == pytest.approx(value, abs=1e-9) and line.slope == pytest.approx(slope, rel=1e-6)
    assert line.sizes[0] == 300 and line.sizes[-1] == 3000 and len(line.sizes) == 15
    assert evaluate.extrapolate(lambda i: 1.0 / len(i), 100_000).sizes[0] == 5000


def test_the_distance_of_endless_images_is_nearer_to_the_truth():
    """Two normal laws: the plain distance is above the truth by its bias, the extrapolated one is not."""
    width, truth = 24, 24 * 0.2**2
    reference = evaluate.Moments(10**9, np.zeros(width), (10**9 - 1) * np.eye(width))
    plain, endless = [], []
    for seed in range(12):
        x = generator(seed).normal(size=(1500, width)) + 0.2
        plain.append(evaluate.frechet_distance(x, reference))
        line = evaluate.extrapolate(
            lambda i, x=x: evaluate.frechet_distance(x[i], reference),
            len(x),
            smallest=300,
            seed=seed,
        )
        endless.append(line.value)
    error = np.std(endless, ddof=1) / np.sqrt(len(endless))
    assert abs(np.mean(endless) - truth) < 4 * error + 0.1 * (np.mean(plain) - truth)
    assert np.mean(plain) - truth > 0.1 and abs(np.mean(endless) - truth) < 0.2 * (np.mean(plain) - truth)


def test_an_extrapolation_needs_images():
    for n in (1, 19):
        with pytest.raises(ValueError, match="generate 20 or more"):
            evaluate.extrapolate(lambda i: 0.0, n)


# Copies


def test_nearest_neighbours_are_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr(evaluate.precision_recall, "_BLOCK", 300)
    g = generator(3)
    x, y = g.normal(size=(40, 5)) + 1e3, g.normal(size=(70, 5)) + 1e3
    distances = np.linalg.norm(x[:, None] - y, axis=-1)
    found = evaluate.nearest(x, y, k=4)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :4], atol=1e-8)
    assert evaluate.nearest(x[:1], y).indices.shape == (1, 1)


def test_copies_are_not_authentic():
    g = generator(4)
    training = g.normal(size=(300, 6))
    copies = training[:100] + 1e-3 * g.normal(size=(100, 6))
    assert evaluate.memorisation(copies, training) == (0.0, 1.0)
    assert evaluate.memorisation(training[:50], training) == (0.0, 1.0)
    fresh = evaluate.memorisation(g.normal(size=(300, 6)), training)
    assert fresh.authenticity > 0.4 and fresh.memorised < 0.02
    half = evaluate.memorisation(np.concatenate([copies, g.normal(size=(100, 6)) + 30]), training)
    assert half == (0.5, 0.5)


def test_authenticity_equals_its_definition():
    values, plain = [], []
    for seed in range(10):
        g = generator(seed)
        training, fresh = g.normal(size=(120, 2)), g.normal(size=(120, 2))
        values.append(evaluate.memorisation(fresh, training).authenticity)
        across = np.linalg.norm(fresh[:, None] - training, axis=-1)
        among = np.linalg.norm(training[:, None] - training, axis=-1) + np.diag(np.full(120, np.inf))
        plain.append((across.min(1) > among.min(1)[across.argmin(1)]).mean())
    np.testing.assert_allclose(values, plain)


# Modes


@pytest.mark.parametrize("mixture", [evaluate.ring(8), evaluate.ring(8, deviation=0.141), evaluate.grid(5)])
def test_a_perfect_sampler_of_a_toy(mixture):
    found = evaluate.modes(mixture.sample(2500, seed=1), mixture)
    expected = 1 - np.exp(-(REACH**2) / 2)
    assert expected == pytest.approx(0.98889, abs=1e-5)
    assert found.found == len(mixture.centres)
    assert abs(found.good - expected) < 4 * np.sqrt(expected * (1 - expected) / 2500)
    floor = (found.found - 1) / (2 * 2500 * expected)
    assert 0 < found.reverse_kl < 4 * floor


def test_modes_have_intervals_like_everything_else():
    ring = evaluate.ring(8)
    samples = ring.sample(1000, seed=2)
    spreads = evaluate.half_samples(lambda i, _: evaluate.modes(samples[i], ring)._asdict(), 1000, 1000, replicates=300)
    good = evaluate.modes(samples, ring).good
    assert spreads["good"].std() == pytest.approx(np.sqrt(good * (1 - good) / 1000), rel=0.15)
    assert (spreads["found"] == 8).all()


def test_modes_of_toys_are_apart_and_even():
    ring, grid = evaluate.ring(8), evaluate.grid(5)
    assert len(np.unique(ring.centres.round(6), axis=0)) == 8 and len(np.unique(grid.centres, axis=0)) == 25
    np.testing.assert_allclose(np.linalg.norm(ring.centres, axis=1), 2.0)
    np.testing.assert_allclose(np.unique(grid.centres), [-4, -2, 0, 2, 4])


def test_dropped_modes_are_seen():
    ring = evaluate.ring(8)
    collapsed = evaluate.modes(np.tile(ring.centres[3], (100, 1)), ring)
    assert collapsed == (1, 1.0, pytest.approx(np.log(8)))
    half = evaluate.modes(np.repeat(ring.centres[:4], 25, axis=0), ring)
    assert half == (4, 1.0, pytest.approx(np.log(2)))
    between = evaluate.modes(np.zeros((50, 2)), ring)
    assert (between.found, between.good, between.reverse_kl) == (0, 0.0, np.inf)
    edge = ring.centres[:1] + np.array([[REACH * ring.deviation * (1 - 1e-9), 0], [REACH * ring.deviation * 1.001, 0]])
    assert evaluate.modes(edge, ring).good == 0.5
    for wrong, message in ((np.zeros((3, 3)), "samples"), (np.full((3, 2), np.nan), "finite")):
        with pytest.raises(ValueError, match=message):
            evaluate.modes(wrong, ring)
