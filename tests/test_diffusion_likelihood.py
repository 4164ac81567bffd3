"""Likelihoods of the probability flow against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import distributions
from gen_jax.diffusion import schedules
from gen_jax.diffusion.likelihood import flow_log_prob

VP = schedules.vp()
PATHS = {
    "vp": (VP, 1e-5, 1.0),
    "vp_cosine": (schedules.vp_cosine(), 1e-4, 1.0),
    "sub_vp": (schedules.sub_vp(), 1e-3, 1.0),
    "ve": (schedules.ve(most=5.0), 0.0, 1.0),
    "edm": (schedules.edm(), 2e-3, 80.0),
    "rectified_flow": (schedules.rectified_flow(), 1e-4, 1.0),
}


def normal(process, mean, covariance):
    """E[x_0 | x_t] of data N(mean, covariance) over the last axis."""
    values, vectors = np.linalg.eigh(covariance)

    def denoise(x, t):
        alpha, sigma = process.at(t, x)
        share = alpha * values / (alpha**2 * values + sigma**2)
        return mean + (((x - alpha * mean) @ vectors) * share) @ vectors.T

    return denoise


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_the_known_likelihood_of_a_number():
    denoise = normal(VP, np.array([0.3]), np.array([[0.25]]))
    got = jax.jit(lambda key, x: flow_log_prob(VP, denoise, key, x))(jax.random.key(0), jnp.array([[0.7]]))
    np.testing.assert_allclose(got.log_prob, -0.547377, atol=1e-5)
    assert 20 < got.evaluations[0] < 200 and got.standard_error == 0 and got.tolerance == 1e-5


@pytest.mark.parametrize("name", PATHS)
def test_likelihoods_of_correlated_data(name):
    process, first, last = PATHS[name]
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3)) / 2
    mean, covariance = rng.normal(size=3) / 2, root @ root.T + 0.1 * np.eye(3)
    x = rng.multivariate_normal(mean, covariance, size=5)
    # the flow of normal data is linear: along every eigenvector it keeps x in units of the marginal's spread
    values, vectors = np.linalg.eigh(covariance)
    alphas, sigmas = ([float(f(jnp.asarray(t))) for t in (first, last)] for f in (process.alpha, process.sigma))
    spreads = [np.sqrt(a**2 * values + b**2) for a, b in zip(alphas, sigmas)]
    noise = alphas[1] * mean @ vectors + (x - alphas[0] * mean) @ vectors / spreads[0] * spreads[1]
    expected = stats.norm.logpdf(noise, scale=np.hypot(alphas[1], sigmas[1])).sum(-1)
    expected += np.log(spreads[1] / spreads[0]).sum()
    got = flow_log_prob(
        process, normal(process, mean, covariance), jax.random.key(0), jnp.asarray(x),
        first=first, last=last, probes=2000, tolerance=1e-7,
    )  # fmt: skip
    assert np.all(got.standard_error > 0)
    np.testing.assert_array_less(np.abs(got.log_prob - expected), 4.5 * got.standard_error + 1e-4)


def test_signs_are_exact_where_the_jacobian_is_diagonal():
    denoise = normal(VP, np.zeros(4), np.diag([0.1, 0.5, 1.0, 2.0]))
    x = jax.random.normal(jax.random.key(0), (3, 4))
    got = flow_log_prob(VP, denoise, jax.random.key(1), x, probes=3)
    np.testing.assert_allclose(got.standard_error, 0, atol=1e-9)
    other = flow_log_prob(VP, denoise, jax.random.key(2), x, probes=1)
    np.testing.assert_allclose(got.log_prob, other.log_prob, rtol=1e-5)  # the solver's tolerance


def test_an_example_does_not_depend_on_its_batch():
    denoise = normal(VP, np.zeros(2), np.array([[1.0, 0.3], [0.3, 0.5]]))
    x = jnp.array([[0.1, 0.2], [5.0, -9.0], [1.0, 1.0]])
    run = jax.jit(lambda x: flow_log_prob(VP, denoise, jax.random.key(0), x))
    together, alone = run(x), run(x[:1])
    np.testing.assert_allclose(together.log_prob[:1], alone.log_prob, rtol=1e-12)
    assert together.evaluations[0] == alone.evaluations[0]


def test_uniform_data_take_eight_bits():
    """A density over the width of 256 levels, dequantised: exactly log2(256)."""
    levels = jnp.arange(256.0) / 127.5 - 1
    x = distributions.dequantise(jax.random.key(0), levels)
    width = 256 * distributions.LEVEL
    assert jnp.abs(x).max() <= width / 2
    bits = -(jnp.log(1 / width) + jnp.log(distributions.LEVEL)) / jnp.log(2.0)
    np.testing.assert_allclose(bits, 8.0, rtol=1e-9)
