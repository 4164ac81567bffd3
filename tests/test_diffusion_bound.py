"""The variational bound where its value is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax import distributions
from gen_jax.diffusion import bound, schedules, times
from gen_jax.diffusion.samplers import fixed_large, fixed_small

LEVELS = np.arange(256) / 127.5 - 1


def normal_denoiser(process):
    return lambda x, t: process.at(t, x)[0] * x


def _exact_terms(variance):
    """Sums over all terms in float64; four points carry the second moments of (x_0, eps) exactly."""
    process = schedules.discrete(schedules.linear_betas(1000))
    x_0, noise = jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), jnp.array([[1.0], [-1.0], [1.0], [-1.0]])
    denoise = normal_denoiser(process)

    @jax.jit
    def term(t):
        t = jnp.full(4, t)
        return bound.step_kl(process, denoise, x_0, noise, t, t - 1, variance=variance).mean()

    steps = sum(float(term(t)) for t in range(1, 1000))
    prior = bound.prior_kl(process, x_0, jnp.full(4, 999)).mean()
    alpha_bar, spread = 1 - 1e-4, 1e-4
    residual = x_0 - np.sqrt(alpha_bar) * process.diffuse(x_0, noise, jnp.zeros(4, int))
    decoder = 0.5 * (residual**2 / spread + np.log(2 * np.pi * spread)).mean()
    return steps, float(prior), float(decoder)


@pytest.mark.parametrize(
    ("variance", "steps", "total"),
    [(fixed_large, 4.605150006, 1.418938533204), (fixed_small, 5.070042325, 1.88383085)],
    ids=["large", "small"],
)
def test_bound_on_standard_normal_data(variance, steps, total):
    """With fixed_large it is tight: the entropy of the data, log(2 pi e) / 2."""
    with jax.enable_x64(True):
        kl, prior, decoder = _exact_terms(variance)
        np.testing.assert_allclose(kl, steps, rtol=1e-8)
        np.testing.assert_allclose(prior, 2.0179556e-5, rtol=1e-6)
        np.testing.assert_allclose(kl + prior + decoder, total, rtol=1e-8)


@pytest.mark.parametrize(("second_moment", "bits"), [(0.0, 5.875e-10), (0.25, 7.2787e-6), (1.0, 2.91129e-5)])
def test_prior_term_in_bits_per_dimension(second_moment, bits):
    with jax.enable_x64(True):
        x = jnp.full((1, 4), np.sqrt(second_moment))
        got = bound.prior_kl(schedules.discrete(schedules.linear_betas(1000)), x, jnp.array([999])) / 4 / np.log(2)
        np.testing.assert_allclose(got, [bits], rtol=1e-4)


@pytest.mark.parametrize("mean", [-1.3, -0.5, 0.02, 1.0])
@pytest.mark.parametrize("spread", [0.004, 0.05, 0.7])
def test_grey_levels_have_the_mass_of_their_interval(mean, spread):
    got = jax.jit(bound.discretised_normal_log_prob)(jnp.asarray(LEVELS, jnp.float32), mean, spread**2)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(np.exp(np.asarray(got, np.float64)).sum(), 1.0, atol=1e-4)
    edges = (np.concatenate([[-np.inf], (LEVELS[1:] + LEVELS[:-1]) / 2, [np.inf]]) - mean) / spread
    mass = np.where(edges[1:] + edges[:-1] > 0, stats.norm.sf(edges[:-1]) - stats.norm.sf(edges[1:]),
                    stats.norm.cdf(edges[1:]) - stats.norm.cdf(edges[:-1]))  # fmt: skip
    seen = mass > 1e-30
    np.testing.assert_allclose(np.asarray(got)[seen], np.log(mass[seen]), rtol=2e-3, atol=2e-3)
    gradient = jax.vmap(jax.grad(bound.discretised_normal_log_prob, (1, 2)), (0, None, None))(
        jnp.asarray(LEVELS, jnp.float32), mean, spread**2
    )
    assert all(np.isfinite(g).all() for g in gradient)


def test_the_decoder_takes_the_variance_of_the_second_step():
    process = schedules.discrete(schedules.linear_betas(1000))
    x_0, noise = jnp.full((1, 2, 2, 1), LEVELS[100]), jnp.full((1, 2, 2, 1), 0.5)
    x_0 = x_0.astype(jnp.float32)
    got = bound.decoder_loss(process, lambda x, t: x_0 + 0.003, x_0, noise, jnp.array([0]), jnp.array([1]))
    half = distributions.LEVEL / 2
    a, b = ((-0.003 + side) / np.sqrt(5.45318766e-5) for side in (-half, half))
    np.testing.assert_allclose(got, [-4 * np.log(stats.norm.cdf(b) - stats.norm.cdf(a))], rtol=1e-3)


def test_the_bound_is_the_sum_of_its_terms_and_its_estimate_is_unbiased():
    process = schedules.discrete(schedules.linear_betas(20, first=1e-3, last=0.5))
    x_0 = jnp.asarray(np.random.default_rng(0).choice(LEVELS, (3, 2, 2, 1)), jnp.float32)
    denoise, chain = (lambda x, t: 0.7 * x), times.leading(20, 20)

    def averaged(terms):
        one = lambda key: bound.variational_bound(process, denoise, chain, key, x_0, terms=terms)  # noqa: E731
        return jax.jit(lambda keys: jax.vmap(one)(keys))(jax.random.split(jax.random.key(0), 4000))

    @jax.jit
    def exact(t):  # the expectation over the noise, by its moments: x_t enters (3) as a square
        ends = [jnp.full_like(x_0, value) for value in (-1.0, 1.0)]
        time = jnp.full(3, t)
        return sum(bound.step_kl(process, denoise, x_0, e, time, time - 1) for e in ends) / 2

    expected = sum(exact(t) for t in range(1, 20))
    for terms in (0, 5):
        found = averaged(terms)
        np.testing.assert_allclose(found.steps.mean(0), expected, rtol=0.06)
        np.testing.assert_allclose(found.total, found.prior + found.steps + found.decoder)
        np.testing.assert_allclose(found.prior[0], bound.prior_kl(process, x_0, jnp.full(3, 19)), rtol=1e-5)
