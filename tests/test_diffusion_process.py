"""Schedules against their tables, and the Gaussian algebra against Bayes' rule."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.diffusion import process as p
from gen_jax.diffusion import schedules, times
from gen_jax.diffusion.guidance import classifier_free, clipped

LINEAR = schedules.discrete(schedules.linear_betas(1000))
KINDS = {"x0": p.X0, "eps": p.EPS, "v": p.V, "score": p.SCORE}

# index -> alpha_bar
TABLES = [
    (schedules.linear_betas(1000), {0: 0.9999, 1: 0.9997800921, 10: 0.9978065725, 100: 0.8951415909, 250: 0.5214230306,
                            500: 0.07779665837, 750: 0.003300158362, 998: 4.118193638e-5, 999: 4.035829765e-5}),
    (schedules.cosine_betas(1000), {0: 0.999958716, 250: 0.845887986, 500: 0.492285172, 750: 0.143178646,
                            998: 2.42876691e-6, 999: 2.42876691e-9}),
    (schedules.cosine_betas(4000), {0: 0.999990134, 1000: 0.846731433, 2000: 0.493453980, 3999: 1.51798e-10}),
    (schedules.scaled_linear_betas(1000), {0: 0.99915, 500: 0.27633268, 999: 0.0046601}),
    (schedules.scaled_linear_betas(1000, first=0.0015, last=0.0195), {0: 0.9985, 500: 0.114922001, 999: 1.42303975e-4}),
    (schedules.scaled_linear_betas(1000, first=0.002, last=0.02), {0: 0.998, 500: 0.0833208274, 999: 7.47023e-5}),
    (schedules.zero_terminal_snr(schedules.linear_betas(1000)),
     {0: 0.9999, 500: 0.0752462157, 998: 4.21326e-9, 999: 0.0}),
    (schedules.sigmoid_betas(1000), {0: 0.999850795, 500: 0.298887628, 999: 3.96818e-5}),
]  # fmt: skip


@pytest.mark.parametrize(("betas", "table"), TABLES)
def test_schedules_equal_their_tables(betas, table):
    alpha_bar = np.cumprod(1 - betas)
    for index, value in table.items():
        np.testing.assert_allclose(alpha_bar[index], value, rtol=2e-6 if value < 1e-3 else 1e-6)
        process = schedules.discrete(betas)
        np.testing.assert_allclose(process.alpha(index) ** 2, value, rtol=1e-5)
        np.testing.assert_allclose(process.sigma(index) ** 2, 1 - alpha_bar[index], rtol=1e-5)


def test_cosine_clips_its_last_step_only():
    betas = schedules.cosine_betas(1000)
    np.testing.assert_allclose(betas[[0, 998, 999]], [4.12842e-5, 0.749999393, 0.999], rtol=1e-5)
    assert (betas < 0.999).sum() == 999


def test_posterior_variances_equal_their_table():
    t = jnp.array([1, 487, 999])
    variance = LINEAR.posterior_variance(jnp.zeros((3, 1)), t, t - 1)[:, 0]
    np.testing.assert_allclose(variance, [5.45318766e-5, 0.00979157199, 0.0199999835], rtol=1e-4)
    step = LINEAR.step_variance(jnp.zeros((3, 1)), t, t - 1)[:, 0]
    np.testing.assert_allclose(step, schedules.linear_betas(1000)[[1, 487, 999]], rtol=2e-4)


@pytest.mark.parametrize(
    "betas", [schedules.linear_betas(50, last=0.3), schedules.cosine_betas(20)], ids=["linear", "cosine"]
)
def test_the_chain_has_the_marginals_of_its_path(betas):
    """Mean and variance carried through every step by hand end where alpha and sigma say."""
    process, mean, variance = schedules.discrete(betas), 1.0, 0.0
    assert (process.alpha(-1), process.sigma(-1)) == (1.0, 0.0)
    for t, beta in enumerate(betas):
        mean, variance = np.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        np.testing.assert_allclose(process.alpha(t), mean, rtol=1e-5)
        np.testing.assert_allclose(process.sigma(t) ** 2, variance, rtol=1e-5)


@pytest.mark.parametrize(("t", "s"), [(1, 0), (10, 3), (500, 499), (999, 0), (999, 600), (0, -1)])
def test_posterior_is_bayes_rule(t, s):
    """q(x_s | x_t, x_0) is the normalised product of q(x_s | x_0) and q(x_t | x_s), as functions of x_s."""
    with jax.enable_x64(True):
        alpha_bar = np.concatenate([[1.0], np.cumprod(1 - schedules.linear_betas(1000))])
        ratio = alpha_bar[t + 1] / alpha_bar[s + 1]
        x_t, x_0 = np.array([[0.3]]), np.array([[-0.7]])
        prior_mean, prior_variance = np.sqrt(alpha_bar[s + 1]) * x_0, max(1 - alpha_bar[s + 1], 1e-300)
        precision = 1 / prior_variance + ratio / (1 - ratio)
        mean = (prior_mean / prior_variance + np.sqrt(ratio) * x_t / (1 - ratio)) / precision
        process = schedules.discrete(schedules.linear_betas(1000))
        np.testing.assert_allclose(process.posterior_mean(x_t, x_0, jnp.array([t]), jnp.array([s])), mean, rtol=1e-9)
        got = process.posterior_variance(x_t, jnp.array([t]), jnp.array([s]))
        np.testing.assert_allclose(got, [[1 / precision]], rtol=1e-9, atol=1e-30)


@pytest.mark.parametrize(("t", "s"), [(999, 500), (500, 100), (100, 0), (20, -1)])
def test_posterior_steps_keep_the_marginals_of_one_data_point(t, s):
    """From q(x_t | c), a posterior step with x_0 = c lands on q(x_s | c), for any stride."""
    x = jnp.zeros((1, 1))
    slope = LINEAR.posterior_mean(x + 1, x, t, s)
    mean = LINEAR.posterior_mean(LINEAR.alpha(t) * 2.0 * (x + 1), 2.0 * (x + 1), t, s)
    np.testing.assert_allclose(mean, 2.0 * LINEAR.alpha(s) * (x + 1), rtol=1e-5)
    variance = slope**2 * LINEAR.sigma(t) ** 2 + LINEAR.posterior_variance(x, t, s)
    np.testing.assert_allclose(variance, LINEAR.sigma(s) ** 2 + x, rtol=1e-4)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(KINDS, KINDS)))
def test_conversions_go_round(source, target):
    x_0, noise = jax.random.normal(jax.random.key(0), (2, 4, 3, 3, 1))
    t = jnp.array([5, 100, 400, 700])
    x_t = LINEAR.diffuse(x_0, noise, t)
    y = KINDS[source].target(LINEAR, x_0, noise, t)
    there = p.convert(LINEAR, y, x_t, t, KINDS[source], KINDS[target])
    np.testing.assert_allclose(there, KINDS[target].target(LINEAR, x_0, noise, t), rtol=2e-3, atol=2e-3)
    back = p.convert(LINEAR, there, x_t, t, KINDS[target], KINDS[source])
    np.testing.assert_allclose(back, y, rtol=2e-3, atol=2e-3)
    denoise = p.denoiser(LINEAR, lambda x, t: y, KINDS[source])
    np.testing.assert_allclose(denoise(x_t, t), x_0, rtol=1e-3, atol=1e-3)


def test_conversions_by_hand():
    """One number a kind, at alpha 0.6 and sigma 0.8: x_0 = 0.5, eps = -1 make x_t = -0.5."""
    process = p.Process(lambda t: jnp.float32(0.6), lambda t: jnp.float32(0.8))
    x_t = process.diffuse(jnp.full((1,), 0.5), jnp.full((1,), -1.0), 0)
    np.testing.assert_allclose(x_t, -0.5, rtol=1e-6)
    expected = {"x0": 0.5, "eps": -1.0, "v": 0.6 * -1.0 - 0.8 * 0.5, "score": 1 / 0.8}
    for kind, value in expected.items():
        got = p.convert(process, jnp.full((1,), 0.5), x_t, 0, p.X0, KINDS[kind])
        np.testing.assert_allclose(got, value, rtol=1e-5)


def test_times():
    np.testing.assert_array_equal(times.leading(1000, 10), [900, 800, 700, 600, 500, 400, 300, 200, 100, 0, -1])
    np.testing.assert_array_equal(times.trailing(1000, 5), [999, 799, 599, 399, 199, -1])
    np.testing.assert_array_equal(times.quadratic(1000, 5), [800, 450, 200, 50, 0, -1])
    np.testing.assert_allclose(times.cosine(1.0, 0.2, 4), 0.6 + 0.4 * np.array([1, 0.5**0.5, 0, -(0.5**0.5), -1]))
    for spacing, steps in itertools.product([times.leading, times.trailing], [1, 3, 7, 10]):
        visited = spacing(10, steps)
        assert visited.shape == (steps + 1,)
        assert visited[-1] == -1
        assert (np.diff(visited) < 0).all()
        assert visited[0] < 10
    np.testing.assert_array_equal(times.trailing(10, 10), np.arange(9, -2, -1))
    for spacing, steps in [(times.leading, 11), (times.trailing, 11), (times.quadratic, 10), (times.leading, 0)]:
        with pytest.raises(ValueError, match=f"{steps} different times"):
            spacing(10, steps)


def test_guidance_by_hand():
    x, t = jnp.ones((2, 3)), jnp.zeros(2)
    conditional, unconditional = (lambda x, t: 0.9 * x), (lambda x, t: 0.5 * x)
    for scale, expected in [(0.0, 0.5), (1.0, 0.9), (2.0, 1.3), (1 + 3.0, 4 * 0.9 - 3 * 0.5)]:
        guided = classifier_free(conditional, unconditional, scale=scale)
        np.testing.assert_allclose(guided(x, t), expected * x, rtol=1e-6)
    assert classifier_free(conditional, unconditional, scale=1.0) is conditional
    np.testing.assert_allclose(clipped(lambda x, t: 3 * x)(jnp.array([-1.0, 0.1, 1.0]), t), [-1, 0.3, 1], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_is_the_same_for_every_prediction(kind):
    """Guiding eps, v or the score and converting is guiding the denoisers."""
    x_t, one, other = jax.random.normal(jax.random.key(1), (3, 4, 5))
    t = jnp.array([50, 200, 400, 600])
    a, b = (p.convert(LINEAR, y, x_t, t, p.X0, KINDS[kind]) for y in (one, other))
    by_kind = p.convert(LINEAR, b + 2.5 * (a - b), x_t, t, KINDS[kind], p.X0)
    guided = classifier_free(lambda x, t: one, lambda x, t: other, scale=2.5)(x_t, t)
    np.testing.assert_allclose(by_kind, guided, rtol=1e-3, atol=1e-3)
