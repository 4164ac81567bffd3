"""Samplers beside diffusers' schedulers: what each asks the model, step by step, and where it ends."""

import itertools
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.diffusion import guidance, langevin, samplers, schedules, solvers, times
from gen_jax.diffusion import process as p
from tests.scheduler_cases import CASES, RATIO, SIGMA_MAX, SIGMA_MIN, STEPS, dummy, mixture, noises, start
from tests.tiers import mostly_slow

GOLDEN = pathlib.Path(__file__).parent / "golden" / "schedulers.npz"
BETAS = schedules.linear_betas(1000)
LINEAR = schedules.discrete(BETAS)
# Times of diffusers' linear spacing, which begins at T-1 and, where it counts the end of the last step, ends before 0.
LINSPACE = np.append(np.round(np.linspace(0, 999, STEPS + 1))[::-1][:-1], -1).astype(int)
CHAIN_ENDS = [float(LINEAR.sigma(t) / LINEAR.alpha(t)) for t in (999, 0)]


def by_ratio():
    """The path that preserves variance, with sigma / alpha as its time: diffusers' chains between their steps."""
    return p.Process(lambda r: 1 / jnp.sqrt(1 + r**2), lambda r: r / jnp.sqrt(1 + r**2), lambda r: r)


def exact(process):
    return lambda x, t: mixture(x, *process.at(t, x), jnp.tanh)


def made_up(kind, process=LINEAR):
    return p.denoiser(process, lambda x, t: dummy(x, p.against(t, x)), kind)


def karras(first, last):
    return times.karras(first, last, STEPS)


LEADING, TRAILING = times.leading(1000, STEPS), times.trailing(1000, STEPS)
COSINE, SIGMOID = (schedules.discrete(betas(1000)) for betas in (schedules.cosine_betas, schedules.sigmoid_betas))
SCALED = schedules.discrete(schedules.scaled_linear_betas(1000))
ZERO_SNR = schedules.discrete(schedules.zero_terminal_snr(BETAS))
RATIO_PATH, EDM, FLOW, VE = by_ratio(), schedules.edm(), schedules.rectified_flow(), schedules.ve()
SMALL, LARGE = (partial(samplers.ancestral, variance=v) for v in (samplers.fixed_small, samplers.fixed_large))
STOCHASTIC = partial(samplers.ddim, eta=1.0)
UNIPC = {
    f"unipc/{order}_{name}": (partial(solvers.unipc, order=order, scale=scale), LINEAR, LINSPACE)
    for order, (name, scale) in itertools.product((1, 2, 3), (("bh1", solvers.bh1), ("bh2", solvers.bh2)))
}
EVEN = np.append(np.geomspace(*CHAIN_ENDS, STEPS), 0.0)
# sampler, process, times; and the denoiser, unless it is the mixture's
OURS = UNIPC | {
    "ddpm/fixed_small": (SMALL, LINEAR, LEADING),
    "ddpm/fixed_small_clip": (SMALL, LINEAR, LEADING, guidance.clipped(exact(LINEAR))),
    "ddpm/fixed_large": (LARGE, LINEAR, LEADING),
    "ddpm/trailing": (SMALL, LINEAR, TRAILING),
    "ddpm/cosine": (SMALL, COSINE, LEADING),
    "ddpm/sigmoid": (SMALL, SIGMOID, LEADING),
    "ddim/leading": (samplers.ddim, LINEAR, LEADING),
    "ddim/trailing": (samplers.ddim, LINEAR, TRAILING),
    "ddim/clip": (samplers.ddim, LINEAR, LEADING, guidance.clipped(exact(LINEAR))),
    "ddim/eta_one_leading": (STOCHASTIC, LINEAR, LEADING),
    "ddim/eta_one_trailing": (STOCHASTIC, LINEAR, TRAILING),
    "ddim/eta_one_clip": (STOCHASTIC, LINEAR, TRAILING, guidance.clipped(exact(LINEAR))),
    "ddim/scaled_linear": (samplers.ddim, SCALED, LEADING),
    "ddim/zero_terminal_snr": (samplers.ddim, ZERO_SNR, TRAILING),
    "ddim/dummy": (samplers.ddim, LINEAR, LEADING, guidance.clipped(made_up(p.EPS))),
    "dpm_solver/1": (solvers.dpm_solver_1, LINEAR, LINSPACE),
    "dpm_solver/2": (solvers.dpm_solver_2m, LINEAR, LINSPACE),
    "dpm_solver/2_to_sigma_min": (solvers.dpm_solver_2m, LINEAR, np.append(LINSPACE[:-1], 0)),
    "dpm_solver/2_karras": (solvers.dpm_solver_2m, RATIO_PATH, karras(*CHAIN_ENDS)),
    "dpm_solver/2_even_log_snr": (solvers.dpm_solver_2m, RATIO_PATH, EVEN),
    "dpm_solver/2_thresholded": (
        solvers.dpm_solver_2m, LINEAR, LINSPACE, guidance.thresholded(exact(LINEAR), quantile=0.7, largest=1.4),
    ),
    "dpm_solver/2_dummy": (solvers.dpm_solver_2m, LINEAR, np.append(LINSPACE[:-1], 0), made_up(p.EPS)),
    "unipc/2_karras": (solvers.unipc, RATIO_PATH, karras(*CHAIN_ENDS)),
    "heun/chain": (solvers.heun, LINEAR, np.append(np.arange(999, -1, -111), -1)),
    "heun/karras": (solvers.heun, RATIO_PATH, karras(*CHAIN_ENDS)),
    "edm_euler/karras": (samplers.ddim, EDM, karras(SIGMA_MAX, SIGMA_MIN)),
    "flow/euler": (solvers.flow, FLOW, np.append(np.linspace(1, 0.001, STEPS), 0.0)),
    "ve/predictor": (
        partial(langevin.predictor_corrector, corrections=0), VE, np.append(np.linspace(1, 0, STEPS), -np.inf),
    ),
    "ve/corrector": (
        partial(langevin.predictor_corrector, ratio=RATIO), VE, np.append(np.linspace(1, 0, STEPS), -np.inf),
    ),
}  # fmt: skip


QUICK = (
    "unipc/2_bh2", "ddpm/fixed_small_clip", "ddim/leading", "ddim/eta_one_trailing", "dpm_solver/2_thresholded",
    "heun/karras", "flow/euler", "ve/corrector",
)  # fmt: skip


@pytest.mark.parametrize("case", mostly_slow(CASES, *QUICK))
def test_samplers_go_where_the_schedulers_of_diffusers_go(case, monkeypatch):
    sampler, process, when, *denoise = OURS[case]
    denoise, asked, drawn = (denoise or [exact(process)])[0], [], noises(case)

    def watched(x, t):
        asked.append(np.asarray(x))
        return denoise(x, t)

    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.asarray(next(drawn)))
    with jax.enable_x64(True), jax.disable_jit():
        first = float(process.sigma(jnp.asarray(when[0]))) if process in (EDM, VE) else 1.0
        x = sampler(process, watched, when, jax.random.key(0), first * jnp.asarray(start(case)))
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(asked, golden[f"{case}/inputs"], rtol=1e-4, atol=1e-4)
        expected = golden.get(f"{case}/output", mixture(asked[-1], *process.at(when[-2], x), np.tanh))
        np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)


def published_start():
    return (jnp.arange(768) / 768).reshape(3, 8, 8, 4).transpose(3, 0, 1, 2)


STEEP = schedules.discrete(schedules.linear_betas(1000, first=0.01))
TO_0 = np.append(LEADING[:-1], 0)  # theirs with an alpha of the first step in place of the data's


def made_up_edm(x, sigma):
    """Preconditioned for data of standard deviation 1/2."""
    sigma = p.against(sigma, x)
    spread = jnp.hypot(sigma, 0.5)
    return (0.5 / spread) ** 2 * x + 0.5 * sigma / spread * dummy(x / spread, jnp.log(sigma) / 4)


@pytest.mark.parametrize(
    ("sampler", "process", "when", "denoise", "first", "expected"),
    [
        (samplers.ddim, STEEP, LEADING, guidance.clipped(made_up(p.EPS, STEEP)), 1.0, 149.8295 / 768),
        (samplers.ddim, STEEP, TO_0, guidance.clipped(made_up(p.EPS, STEEP)), 1.0, 149.0784 / 768),
        (solvers.dpm_solver_2m, LINEAR, np.append(LINSPACE[:-1], 0), made_up(p.EPS), 1.0, 0.3301),
        (solvers.dpm_solver_2m, LINEAR, np.append(LINSPACE[:-1], 0), made_up(p.V), 1.0, 0.2251),
        (samplers.ddim, EDM, karras(80.0, 0.002), made_up_edm, np.hypot(80, 1), 34.1855 / 768),
    ],
    ids=["ddim_steep", "ddim_steep_to_0", "dpm_solver", "dpm_solver_v", "edm_euler"],
)
def test_values_that_diffusers_publishes(sampler, process, when, denoise, first, expected):
    """The mean of |x| for the made-up model, in that library's tests; two more are in those of the samplers."""
    x = jax.jit(lambda x: sampler(process, denoise, when, jax.random.key(0), x))(first * published_start())
    np.testing.assert_allclose(jnp.abs(x).mean(), expected, atol=6e-5)


@pytest.mark.parametrize(("t", "s", "variance"), [(420, 400, 0.14771), (980, 960, 0.32460), (487, 486, 0.00979)])
def test_variances_that_diffusers_publishes(t, s, variance):
    np.testing.assert_allclose(LINEAR.posterior_variance(jnp.zeros(1), t, s), variance, atol=1e-5)
