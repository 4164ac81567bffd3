"""Samplers with the exact denoiser in place of a network: what they must do is known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from gen_jax.diffusion import process as p
from gen_jax.diffusion import schedules, times
from gen_jax.diffusion.guidance import clipped
from gen_jax.diffusion.samplers import ancestral, ddim, ddim_encode, fixed_large, fixed_small
from gen_jax.interpolate import slerp

LINEAR = schedules.discrete(schedules.linear_betas(1000))
WEIGHTS, MEANS, SPREAD = np.array([0.3, 0.7]), np.array([-1.0, 1.0]), 0.2

SAMPLERS = {
    "fixed_large": partial(ancestral, variance=fixed_large),
    "fixed_small": partial(ancestral, variance=fixed_small),
    "ddim": ddim,
    "ddim_eta_half": partial(ddim, eta=0.5),
    "ddim_eta_one": partial(ddim, eta=1.0),
}


def normal_denoiser(x, t):
    """Of standard normal data, whose path is standard normal at every time."""
    return LINEAR.at(t, x)[0] * x


def mixture_denoiser(x, t):
    """Of the mixture: the posterior means of its components, weighted by their responsibilities."""
    alpha, sigma = LINEAR.at(t, x[..., None])
    variance = alpha**2 * SPREAD**2 + sigma**2
    logits = jnp.log(jnp.asarray(WEIGHTS)) - (x[..., None] - alpha * MEANS) ** 2 / (2 * variance)
    means = (MEANS * sigma**2 + alpha * SPREAD**2 * x[..., None]) / variance
    return (jax.nn.softmax(logits) * means).sum(axis=-1)


def mixture_cdf(x, alpha=1.0, sigma=0.0):
    spread = np.sqrt(alpha**2 * SPREAD**2 + sigma**2)
    return (WEIGHTS * stats.norm.cdf((np.asarray(x)[..., None] - alpha * MEANS) / spread)).sum(-1)


def run(sampler, denoise, when, x, seed=0):
    return jax.jit(lambda key, x: sampler(LINEAR, denoise, when, key, x))(jax.random.key(seed), x)


@pytest.mark.parametrize(
    ("steps", "expected"), [(10, 0.831696), (20, 0.912532), (50, 0.964079), (100, 0.981851), (1000, 0.998124)]
)
def test_ddim_on_normal_data_shrinks_by_a_product_of_cosines(steps, expected):
    when = times.leading(1000, steps)
    angles = np.arccos(np.sqrt(np.append(np.cumprod(1 - schedules.linear_betas(1000)), 1.0)[when]))
    np.testing.assert_allclose(np.prod(np.cos(np.diff(angles))), expected, atol=1e-6)
    x = jnp.array([[1.0], [-2.0]])
    np.testing.assert_allclose(run(ddim, normal_denoiser, when, x), expected * x, rtol=1e-4)


@pytest.mark.parametrize("steps", [10, 50])
def test_ddim_goes_back_up_by_the_same_cosines(steps):
    when = times.leading(1000, steps)
    angles = np.arccos(np.sqrt(np.append(np.cumprod(1 - schedules.linear_betas(1000)), 1.0)[when]))
    x = jnp.array([[1.0], [-2.0]])
    noise = jax.jit(lambda x: ddim_encode(LINEAR, normal_denoiser, when, x))(x)
    np.testing.assert_allclose(noise, np.prod(np.cos(np.diff(angles))) * x, rtol=1e-4)
    there_and_back = run(ddim, normal_denoiser, when, noise)
    np.testing.assert_allclose(there_and_back, np.prod(np.cos(np.diff(angles)) ** 2) * x, rtol=1e-4)


def test_ddim_decodes_what_it_encodes():
    """With an error that falls as the steps grow, on the mixture."""
    x = jnp.array([[-1.3], [-1.0], [-0.8], [0.7], [1.0], [1.4]])
    errors = []
    for steps in (50, 100, 200):
        when = times.trailing(1000, steps)
        noise = jax.jit(partial(ddim_encode, LINEAR, mixture_denoiser, when))(x)
        errors.append(float(jnp.abs(run(ddim, mixture_denoiser, when, noise) - x).max()))
    assert errors[0] > 1.5 * errors[1] > 1.5**2 * errors[2]
    assert errors[2] < 0.06


def test_ddim_takes_arcs_of_noise_to_arcs():
    """Of normal data its map is linear; and noises on the arc are as likely as those at its ends."""
    start, end = jax.random.normal(jax.random.key(5), (2, 3, 256))
    when, weights = times.leading(1000, 10), jnp.linspace(0, 1, 5)
    arc = jnp.stack([slerp(start, end, w) for w in weights])
    got = run(ddim, normal_denoiser, when, arc.reshape(-1, 256)).reshape(arc.shape)
    ends = run(ddim, normal_denoiser, when, jnp.concatenate([start, end]))
    np.testing.assert_allclose(got[jnp.array([0, -1])].reshape(-1, 256), ends, rtol=1e-5, atol=1e-5)
    for between, w in zip(got, weights, strict=True):
        np.testing.assert_allclose(between, slerp(ends[:3], ends[3:], w), atol=1e-5)
    np.testing.assert_allclose(jnp.square(arc).mean(-1), 1.0, atol=0.3)


@pytest.mark.parametrize("steps", [10, 50, 100])
def test_variances_on_normal_data(steps):
    """fixed_large is exact for any number of steps; fixed_small loses a known share."""
    x = jax.random.normal(jax.random.key(1), (200_000, 1))
    when = times.leading(1000, steps)
    small = {10: 0.548207, 50: 0.857434, 100: 0.921599}[steps]
    for variance, expected in [(fixed_large, 0.9999), (fixed_small, small)]:
        got = run(partial(ancestral, variance=variance), normal_denoiser, when, x).var()
        np.testing.assert_allclose(got, expected, rtol=0.012)  # four standard errors


def test_ddim_with_eta_one_is_the_ancestral_sampler():
    x = jax.random.normal(jax.random.key(2), (64, 1))
    for when in (times.leading(1000, 10), times.quadratic(1000, 20)):
        one = run(SAMPLERS["ddim_eta_one"], mixture_denoiser, when, x)
        np.testing.assert_allclose(one, run(SAMPLERS["fixed_small"], mixture_denoiser, when, x), atol=2e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_reaches_the_law_of_the_data(name):
    x = jax.random.normal(jax.random.key(3), (20_000, 1))
    samples = np.asarray(run(SAMPLERS[name], mixture_denoiser, times.trailing(1000, 250), x))[:, 0]
    assert stats.kstest(samples, mixture_cdf).statistic < 0.02


def test_ddim_maps_quantiles_to_quantiles():
    """In one dimension the probability flow keeps the order, so it can only be this map."""
    x = np.linspace(-2.0, 2.0, 9)
    alpha, sigma = float(LINEAR.alpha(999)), float(LINEAR.sigma(999))
    levels = mixture_cdf(x, alpha, sigma)
    expected = [optimize.brentq(lambda y, u=u: mixture_cdf(y) - u, -3, 3) for u in levels]
    errors = []
    for steps in (125, 250, 500):
        got = run(ddim, mixture_denoiser, times.trailing(1000, steps), jnp.asarray(x, jnp.float32)[:, None])
        errors.append(np.abs(np.asarray(got)[:, 0] - expected).max())
    assert errors[2] < 0.01
    assert errors[0] > 1.6 * errors[1] > 1.6**2 * errors[2]  # first order


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_step_adds_no_noise(name):
    x = jnp.array([[0.4], [-0.3]])
    for seed in (0, 1):
        last = run(SAMPLERS[name], mixture_denoiser, np.array([5, -1]), x, seed)
        np.testing.assert_allclose(last, mixture_denoiser(x, jnp.array([5, 5])), rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_do_not_depend_on_their_batch_mates(name):
    x = jax.random.normal(jax.random.key(4), (8, 3))
    when = times.trailing(1000, 7)
    some = run(SAMPLERS[name], mixture_denoiser, when, x[:4])
    np.testing.assert_allclose(run(SAMPLERS[name], mixture_denoiser, when, x)[:4], some, atol=1e-6)


def test_noise_is_derived_anew_from_a_clipped_prediction():
    """One DDIM step by hand: x_0 = 4 is clipped to 1, and eps is what makes x_t of that 1."""
    x, when = jnp.full((1, 1), 0.8), np.array([500, 100, -1])
    seen = []

    def denoise(x, t):
        seen.append(x)
        return jnp.full_like(x, 4.0)

    with jax.disable_jit():
        ddim(LINEAR, clipped(denoise), when, jax.random.key(0), x)
    alpha_bar = np.cumprod(1 - schedules.linear_betas(1000))
    eps = (0.8 - np.sqrt(alpha_bar[500])) / np.sqrt(1 - alpha_bar[500])
    expected = np.sqrt(alpha_bar[100]) + np.sqrt(1 - alpha_bar[100]) * eps
    np.testing.assert_allclose(seen[1], [[expected]], rtol=1e-5)


@pytest.mark.parametrize(("kind", "total"), [(p.EPS, 172.0067), (p.V, 52.5302)], ids=["eps", "v"])
def test_ddim_equals_the_published_loop_of_another_library(kind, total):
    """The regression values of diffusers' DDIM scheduler: ten steps, clipped, a made-up model x t / (t + 1)."""
    x = (jnp.arange(768) / 768).reshape(3, 8, 8, 4).transpose(3, 0, 1, 2)
    made_up = lambda x, t: x * (t / (t + 1)).reshape(-1, 1, 1, 1)  # noqa: E731
    last = run(ddim, clipped(p.denoiser(LINEAR, made_up, kind)), times.leading(1000, 10), x)
    np.testing.assert_allclose(jnp.abs(last).sum(), total, atol=1e-2)
