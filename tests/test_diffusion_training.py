"""Laws of times and weights: tables, closed forms, and what the losses made of them must be minimal at."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.diffusion import precondition, schedules, training
from gen_jax.diffusion import process as p

PATHS = {
    "vp": (schedules.vp(), 1e-3, 1.0),
    "vp_cosine": (schedules.vp_cosine(), 1e-2, 0.99),
    "sub_vp": (schedules.sub_vp(), 1e-2, 1.0),
    "ve": (schedules.ve(), 0.0, 1.0),
    "edm": (schedules.edm(), 0.002, 80.0),
    "rectified_flow": (schedules.rectified_flow(), 1e-2, 0.99),
}
PREDICTIONS = {"x0": p.X0, "eps": p.EPS, "v": p.V, "edm": precondition.edm_prediction()}
LAWS = {
    "uniform": (training.uniform(0.2, 0.9), stats.uniform(0.2, 0.7)),
    "log_normal": (training.log_normal(), stats.lognorm(1.2, scale=np.exp(-1.2))),
    "logit_normal": (training.logit_normal(mean=0.5, deviation=0.8), None),
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", LAWS)
def test_laws_have_their_distribution(name):
    law, expected = LAWS[name]
    t = np.asarray(law(training.spread(jax.random.key(0), 20_000)))
    if expected is None:
        t, expected = np.log(t / (1 - t)), stats.norm(0.5, 0.8)
    assert stats.kstest(t, expected.cdf).statistic < 1e-3  # far less than of independent draws: they are spread
    assert np.isfinite(law(jnp.array([0.0, 1 - 1e-9]))).all()


def test_a_batch_is_spread_and_its_examples_are_uniform():
    u = jax.vmap(lambda key: training.spread(key, 10))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(np.diff(np.sort(u, axis=1), axis=1), 0.1)
    assert all(stats.kstest(np.asarray(column), "uniform").pvalue > 1e-4 for column in u.T)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [("eps", [0.000500050, 0.0109912, 0.585708508, 1, 1, 1]),
     ("v", [0.0005, 0.0109671, 0.524292046, 0.521423031, 0.0777966584, 4.0358e-5]),
     ("x0", [5, 5, 5, 1.08952805, 0.0843595494, 4.0359927e-5])],
)  # fmt: skip
def test_min_snr_weights_equal_their_table(prediction, expected):
    chain = schedules.discrete(schedules.linear_betas(1000))
    weight = training.min_snr(chain, PREDICTIONS[prediction], 999)
    np.testing.assert_allclose(weight(chain, jnp.array([0, 10, 100, 250, 500, 999])), expected, rtol=1e-5)


def test_without_signal_min_snr_refuses_eps_and_ignores_the_end():
    chain = schedules.discrete(schedules.zero_terminal_snr(schedules.linear_betas(1000)))
    with pytest.raises(ValueError, match="no signal"):
        training.min_snr(chain, p.EPS, 999)
    for prediction in (p.V, p.X0):
        np.testing.assert_allclose(training.min_snr(chain, prediction, 999)(chain, jnp.array([999])), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_weights_are_of_the_same_error_whatever_is_predicted(name):
    process, first, last = PATHS[name]
    t = jnp.linspace(first, last, 5)
    rng = np.random.default_rng(0)
    x_0, guess, noise = (jnp.asarray(rng.normal(size=(5, 3))) for _ in range(3))
    x_t = process.diffuse(x_0, noise, t)
    for kind, weight in itertools.product(PREDICTIONS.values(), (training.likelihood, precondition.edm_weight())):
        target, said = (kind.target(process, x, process.noise(x_t, x, t), t) for x in (x_0, guess))
        got = training.of_x_0(kind, weight)(process, t)[:, None] * (said - target) ** 2
        np.testing.assert_allclose(got, weight(process, t)[:, None] * (guess - x_0) ** 2, rtol=1e-6)


def test_known_weights():
    """EDM's is 1 of its own prediction; the likelihood's is g^2 / sigma^2 of eps."""
    edm = schedules.edm()
    t = jnp.array([0.002, 0.5, 80.0])
    own = training.of_x_0(precondition.edm_prediction(), precondition.edm_weight())
    np.testing.assert_allclose(own(edm, t), 1.0, rtol=1e-9)
    vp, t = schedules.vp(), jnp.array([0.01, 0.3, 1.0])
    rate = 0.1 + 19.9 * t
    expected = rate / -jnp.expm1(-(0.1 * t + 19.9 * t**2 / 2))
    np.testing.assert_allclose(training.of_x_0(p.EPS, training.likelihood)(vp, t), expected, rtol=1e-9)


@pytest.mark.parametrize("name", PATHS)
def test_importance_sampling_keeps_the_likelihoods_mean_and_lessens_its_spread(name):
    """Of the exact denoiser's squared errors on normal data, whose expectation at t is known."""
    process, first, last = PATHS[name]

    def error(t):  # E |x_0 - D|^2
        r = precondition.ratio(process, t)
        return r**2 * 0.25 / (r**2 + 0.25)

    u = (jnp.arange(200_000) + 0.5) / 200_000
    plain, even = training.uniform(first, last)(u), training.even_log_snr(process, first, last)(u)
    terms = training.likelihood(process, plain) * error(plain)
    fewer = training.likelihood_of_even_log_snr(first, last)(process, even) * error(even)
    r = precondition.ratio(process, jnp.array([first, last]))
    exact = float(jnp.diff(jnp.log(r**2 / (r**2 + 0.25)))[0] / (last - first))  # of g^2 / sigma^2 = d log r^2 / dt
    np.testing.assert_allclose([terms.mean(), fewer.mean()], exact, rtol=2e-3)
    if name == "ve":  # its times are even in log r as they are
        np.testing.assert_allclose(fewer.std(), terms.std())
    else:
        assert fewer.std() < terms.std()
    assert (jnp.diff(even) > 0).all() and even[0] >= first and even[-1] <= last


def test_a_chain_has_no_even_times():
    with pytest.raises(ValueError, match="continuous time"):
        training.even_log_snr(schedules.discrete(schedules.linear_betas(10)), 0, 9)
