"""Exact denoisers on every process, as one whose number is traced: a sampler is compiled once for all of them."""

from functools import cache
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats

from gen_jax.diffusion import schedules, times
from gen_jax.diffusion.process import Process

PATHS = {  # of continuous time, with the ends between which samplers are measured
    "vp": (schedules.vp(), 1.0, 1e-3),
    "vp_cosine": (schedules.vp_cosine(), 0.999, 1e-3),
    "vp_sigmoid": (schedules.vp_sigmoid(), 0.999, 1e-3),
    "sub_vp": (schedules.sub_vp(), 1.0, 0.03),
    "ve": (schedules.ve(), 1.0, 0.0),
    "edm": (schedules.edm(), 80.0, 0.002),
    "rectified_flow": (schedules.rectified_flow(), 0.999, 1e-3),
}
CHAINS = {
    "linear": schedules.linear_betas(1000),
    "cosine": schedules.cosine_betas(1000),
    "sigmoid": schedules.sigmoid_betas(1000),
    "scaled_linear": schedules.scaled_linear_betas(1000),
    "zero_terminal_snr": schedules.zero_terminal_snr(schedules.linear_betas(1000)),
    "almost_zero_terminal_snr": schedules.zero_terminal_snr(schedules.linear_betas(1000), left=2**-24),
}
WEIGHTS, MEANS, SPREAD = np.array([0.3, 0.7]), np.array([-1.0, 1.0]), 0.2  # of the mixture


def path(number):
    """The path of that number, which may be traced."""
    processes = [process for process, _, _ in PATHS.values()]

    def switched(name):
        return lambda t: jax.lax.switch(number, [getattr(process, name) for process in processes], t)

    return Process(switched("alpha"), switched("sigma"), switched("time"))


def chain(number):
    """The chain of that number, which may be traced."""
    tables = [np.concatenate([[1.0], np.cumprod(1 - betas)]) for betas in CHAINS.values()]
    alpha_bar = jnp.asarray(np.stack(tables))[number]
    return Process(lambda t: jnp.sqrt(alpha_bar[t + 1]), lambda t: jnp.sqrt(1 - alpha_bar[t + 1]))


def normal(process, spread, mean=0.0):
    """E[x_0 | x_t] of data N(mean, spread^2)."""

    def denoise(x, t):
        alpha, sigma = process.at(t, x)
        return (mean * sigma**2 + alpha * spread**2 * x) / (alpha**2 * spread**2 + sigma**2)

    return denoise


def mixture(process):
    """E[x_0 | x_t] of the mixture: posterior means of its components, weighted by their responsibilities."""

    def denoise(x, t):
        alpha, sigma = process.at(t, x[..., None])
        variance = alpha**2 * SPREAD**2 + sigma**2
        logits = jnp.log(WEIGHTS) - (x[..., None] - alpha * MEANS) ** 2 / (2 * variance)
        return (jax.nn.softmax(logits) * (MEANS * sigma**2 + alpha * SPREAD**2 * x[..., None]) / variance).sum(-1)

    return denoise


def levels(process, t):
    return float(process.alpha(jnp.asarray(t))), float(process.sigma(jnp.asarray(t)))


def marginal(process, t, spread):
    """Standard deviation of x_t for data N(0, spread^2)."""
    alpha, sigma = levels(process, t)
    return np.hypot(alpha * spread, sigma)


def cdf(x, alpha=1.0, sigma=0.0):
    """Of x_t for the mixture."""
    return stats.norm.cdf((np.asarray(x)[..., None] - alpha * MEANS) / np.hypot(alpha * SPREAD, sigma)) @ WEIGHTS


def quantile(share, alpha=1.0, sigma=0.0):
    """Of x_t for the mixture."""
    return optimize.brentq(lambda x: cdf(x, alpha, sigma) - share, -500, 500)


def unit_noise():
    """Makes the noise of step i the unit vector i + 1: a linear sampler then gives the shares of its noises."""
    units = lambda i, shape, dtype: jnp.broadcast_to(jax.nn.one_hot(i + 1, shape[-1], dtype=dtype), shape)  # noqa: E731
    return mock.patch.multiple(jax.random, fold_in=lambda key, i: i, split=lambda i, count: [i] * count, normal=units)


@cache
def _linear(sampler, make):
    def run(number, when, x, spread):
        process = make(number)
        return sampler(process, normal(process, spread), when, None, x)

    return jax.jit(run)


def spread_error(sampler, make, number, process, when, spread=0.5):
    """Relative error of the standard deviation with which data N(0, spread^2) come out, free of sampling error."""
    x = np.zeros((1, len(when)))
    x[0, 0] = marginal(process, when[0], spread)
    with unit_noise():
        shares = _linear(sampler, make)(number, np.asarray(when), x, spread)
    return float(np.linalg.norm(shares)) / marginal(process, when[-1], spread) - 1


@cache
def _mixed(sampler, make):
    def run(number, when, key, x):
        process = make(number)
        return sampler(process, mixture(process), when, key, x)

    return jax.jit(run)


def of_mixture(sampler, make, number, when, x):
    return np.asarray(_mixed(sampler, make)(number, np.asarray(when), jax.random.key(1), x))


def even_log_snr(name, steps):
    return times.even_log_snr(*PATHS[name], steps)
