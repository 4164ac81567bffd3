"""Every sampler on every process, with exact denoisers: its order, and that it reaches the law of the data.

A new sampler is one row of :data:`SAMPLERS`. Its order is that of the standard deviation in which normal data come out,
which of samplers that add noise is computed from each noise's share: there is no sampling error in it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.diffusion import adaptive, langevin, samplers, schedules, solvers, times
from tests.sampler_oracles import (
    CHAINS,
    PATHS,
    cdf,
    chain,
    even_log_snr,
    levels,
    mixture,
    of_mixture,
    path,
    quantile,
    spread_error,
)  # fmt: skip
from tests.tiers import mostly_slow


class Row(NamedTuple):
    sample: object
    order: float | None  # in the steps, at even steps of log(sigma / alpha); None: see the comment
    noisy: bool = False  # adds noise
    chains: bool = True  # takes a chain
    signal: bool = False  # must start with some


# Rules in time have their orders at even steps of it, which test_diffusion_solvers holds.
SAMPLERS = {
    "ddim": Row(samplers.ddim, 1),
    "dpm_solver_1": Row(solvers.dpm_solver_1, 1),
    "dpm_solver_2m": Row(solvers.dpm_solver_2m, 2),
    "dpm_solver_2s": Row(solvers.dpm_solver_2s, 2, chains=False),
    "heun": Row(solvers.heun, 2, signal=True),
    "unipc_1": Row(partial(solvers.unipc, order=1), 2),
    "unipc_2": Row(partial(solvers.unipc, order=2), 3),
    "unipc_2_bh1": Row(partial(solvers.unipc, order=2, scale=solvers.bh1), 3, signal=True),
    "unipc_3": Row(partial(solvers.unipc, order=3), 4, signal=True),
    "flow_euler": Row(solvers.flow, None, chains=False),
    "flow_midpoint": Row(partial(solvers.flow, rule=solvers.midpoint_rule), None, chains=False),
    "flow_runge_kutta": Row(partial(solvers.flow, rule=solvers.runge_kutta_rule), 4, chains=False),
    "flow_adaptive": Row(adaptive.adaptive_flow, None, chains=False),  # has a tolerance
    "fixed_small": Row(partial(samplers.ancestral, variance=samplers.fixed_small), 1, noisy=True),
    "fixed_large": Row(partial(samplers.ancestral, variance=samplers.fixed_large), 1, noisy=True),
    "ddim_eta_half": Row(partial(samplers.ddim, eta=0.5), 1, noisy=True),
    "ddim_eta_one": Row(partial(samplers.ddim, eta=1.0), 1, noisy=True),
    "euler_maruyama": Row(
        partial(langevin.predictor_corrector, predictor=langevin.euler_maruyama, corrections=0), 1, True, False
    ),
    "reverse_diffusion": Row(partial(langevin.predictor_corrector, corrections=0), 1, True, False),
    "predictor_corrector": Row(  # its steps are not linear in x
        partial(langevin.predictor_corrector, ratio=0.1), None, True, False
    ),
    "euler_maruyama_corrected": Row(
        partial(langevin.predictor_corrector, predictor=langevin.euler_maruyama, ratio=0.1), None, True, False
    ),
    "heun_with_churn": Row(partial(solvers.heun, churn=10.0), 2, True, False),
}
BETTER = {("euler_maruyama", "ve"): 2}  # at these steps the variance's error of first order cancels
QUICK = ("ddim", "dpm_solver_2m", "heun", "unipc_2", "flow_runge_kutta", "fixed_small", "euler_maruyama_corrected")
FIRST = {name for name, row in SAMPLERS.items() if row.order == 1} | {"flow_euler"}


def those(obey):
    """Names of the samplers that a law is about."""
    names = [name for name, row in SAMPLERS.items() if obey(row)]
    return mostly_slow(names, *(name for name in QUICK if name in names))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", those(lambda row: row.order is not None))
def test_orders(name):
    for number, (place, (process, _, _)) in enumerate(PATHS.items()):
        coarse, fine = (
            abs(spread_error(SAMPLERS[name].sample, path, number, process, even_log_snr(place, n))) for n in (100, 200)
        )
        order = BETTER.get((name, place), SAMPLERS[name].order)
        assert abs(np.log2(coarse / fine) - order) < 0.3, place


@pytest.mark.parametrize("name", those(lambda row: not row.noisy))
def test_in_one_dimension_the_flow_is_the_quantile_map(name):
    """It keeps the order of its points, so it can be no other."""
    shares = np.array([0.02, 0.2, 0.4, 0.6, 0.9])
    for number, (place, (process, first, last)) in enumerate(PATHS.items()):
        start, end = ([quantile(u, *levels(process, t)) for u in shares] for t in (first, last))
        got = of_mixture(SAMPLERS[name].sample, path, number, even_log_snr(place, 200), np.array(start)[:, None])
        tolerance = {"ve": 6e-2}.get(place, 2e-2) if name == "flow_euler" else 2e-2 if name in FIRST else 5e-3
        np.testing.assert_allclose(got[:, 0], end, atol=tolerance, err_msg=place)


def chains_of(row):
    """Number, name and process of the chains that a sampler takes."""
    for number, (place, betas) in enumerate(CHAINS.items()):
        if row.chains and not (row.signal and place == "zero_terminal_snr"):
            yield number, place, schedules.discrete(betas)


@pytest.mark.parametrize("name", those(lambda row: row.chains and not row.noisy))
def test_on_a_chain_the_flow_tends_to_the_quantile_map(name):
    shares = np.array([0.02, 0.2, 0.4, 0.6, 0.9])
    end = [quantile(u) for u in shares]
    for number, place, process in chains_of(SAMPLERS[name]):
        start = np.array([quantile(u, *levels(process, 999)) for u in shares])[:, None]
        coarse, fine = (
            np.abs(of_mixture(SAMPLERS[name].sample, chain, number, times.trailing(1000, n), start)[:, 0] - end).max()
            for n in (50, 200)
        )
        assert fine < 0.025 and np.log2(coarse / fine) > 2 * 0.7, place  # into the data, all are of first order


@pytest.mark.parametrize("name", those(lambda row: row.noisy))
def test_with_noise_the_law_is_that_of_the_data(name):
    draw, row = np.random.default_rng(0), SAMPLERS[name]
    shape = (40, 50)  # of many pixels, for the norms of a corrector
    x_0, noise = np.where(draw.random(shape) < 0.3, -1, 1) + 0.2 * draw.normal(size=shape), draw.normal(size=shape)

    def distance(make, number, when, process, end):
        alpha, sigma = levels(process, when[0])
        got = of_mixture(row.sample, make, number, when, alpha * x_0 + sigma * noise)
        return stats.kstest(got.ravel(), lambda x: cdf(x, *end)).statistic

    for number, (place, (process, _, last)) in enumerate(PATHS.items()):
        when = even_log_snr(place, 200)
        assert distance(path, number, when, process, levels(process, last)) < 0.04, place
    for number, place, process in chains_of(row):
        assert distance(chain, number, times.trailing(1000, 200), process, (1.0, 0.0)) < 0.04, place


def exploding(name, when):
    """Standard deviation in which data N(0, 0.5^2) come out of the exploding process."""
    process, _, _ = PATHS["ve"]
    error = spread_error(SAMPLERS[name].sample, path, list(PATHS).index("ve"), process, when)
    return (1 + error) * np.hypot(0.5, levels(process, when[-1])[1])


@pytest.mark.parametrize(("name", "expected"), [("reverse_diffusion", 0.502039), ("fixed_small", 0.497777)])
def test_known_spreads_of_the_exploding_process(name, expected):
    """The published one of 1,000 levels, the last noise dropped."""
    np.testing.assert_allclose(exploding(name, np.append(np.linspace(1, 0, 1000), -np.inf)), expected, rtol=2e-6)


def test_known_spread_of_the_exploding_process_by_euler_and_maruyama():
    """The published steps are 1/1000 long, at times that are 1/999 apart; ours are as long as they are apart."""
    sigma = 0.01 * 5000 ** np.linspace(1, 0, 1000)
    rate = 2 * np.log(5000) * sigma**2

    def spread(length):
        variance = 2500.25
        for now, s in zip(rate * length, sigma, strict=True):
            variance = (1 - now / (0.25 + s**2)) ** 2 * variance + now
        return np.sqrt(variance - now)

    np.testing.assert_allclose(spread(1 / 1000), 0.500352, rtol=2e-6)
    ours = exploding("euler_maruyama", np.append(np.linspace(1, 0, 1000), -1 / 999))
    np.testing.assert_allclose(ours, spread(1 / 999), rtol=1e-9)


def test_ddim_reverses_exactly():
    process = schedules.discrete(CHAINS["linear"])
    x, when = jnp.array([[-1.3], [-0.8], [0.7], [1.4]]), times.trailing(1000, 100)[:-1]
    noise = jax.jit(partial(samplers.ddim_reverse, process, mixture(process), when, iterations=60))(x)
    back = jax.jit(lambda x: samplers.ddim(process, mixture(process), when, jax.random.key(0), x))(noise)
    np.testing.assert_allclose(back, x, atol=1e-9)
