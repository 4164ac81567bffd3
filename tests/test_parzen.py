"""The likelihood under Parzen windows, against scipy and closed forms."""

import numpy as np
import pytest
from scipy import special, stats

from gen_jax.evaluate import choose_bandwidth, parzen_log_likelihood
from gen_jax.evaluate.parzen import BANDWIDTHS


@pytest.mark.parametrize("width, offset", [(1, 0.0), (3, 100.0), (64, -5.0)])
@pytest.mark.parametrize("bandwidth", [0.1, 0.7, 3.0])
def test_it_is_the_mean_of_normal_densities(width, offset, bandwidth):
    samples, examples = (np.random.default_rng(seed).normal(offset, 1, (150, width)) for seed in (0, 1))
    windows = stats.norm.logpdf(examples[:, None], samples, bandwidth).sum(axis=-1)
    expected = special.logsumexp(windows, axis=1) - np.log(150)
    np.testing.assert_allclose(parzen_log_likelihood(examples, samples, bandwidth), expected, rtol=1e-9, atol=1e-8)


def test_one_sample_is_a_normal_law_however_far():
    examples = np.array([[0.0, 0.0], [1.0, 2.0], [300.0, -400.0]])
    expected = stats.multivariate_normal(np.zeros(2), 0.25 * np.eye(2)).logpdf(examples)
    np.testing.assert_allclose(parzen_log_likelihood(examples, np.zeros((1, 2)), 0.5), expected, rtol=1e-12)


def test_the_bandwidth_is_the_likeliest_of_its_candidates():
    # One sample at the origin: the mean log-likelihood is highest at h^2 = E |x|^2 / D.
    for best in BANDWIDTHS:
        held_out = best * np.array([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0], [-2.0, 0.0]])  # E |x|^2 = 2 best^2
        assert choose_bandwidth(held_out, np.zeros((1, 2))) == best
    np.testing.assert_allclose(BANDWIDTHS, 10 ** np.linspace(-1, 0, 10))


@pytest.mark.parametrize(
    "examples, bandwidth, message",
    [
        (np.zeros((2, 3)), 1.0, "of one width"),
        (np.full((2, 2), np.nan), 1.0, "finite"),
        (np.zeros((2, 2)), 0.0, "bandwidth: expected above 0"),
    ],
)
def test_bad_input_is_named(examples, bandwidth, message):
    with pytest.raises(ValueError, match=message):
        parzen_log_likelihood(examples, np.zeros((4, 2)), bandwidth)
