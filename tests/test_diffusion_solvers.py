"""Solvers with the exact denoiser of normal data and of a mixture: their errors are known, and so are their orders."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.diffusion import adaptive, langevin, samplers, schedules, solvers, times

VP = schedules.vp()
PROCESSES = {
    "vp": (VP, times.even(1.0, 1e-3, 1)),
    "vp_cosine": (schedules.vp_cosine(), np.array([0.999, 1e-3])),
    "sub_vp": (schedules.sub_vp(), np.array([1.0, 0.03])),
    "ve": (schedules.ve(), np.array([1.0, 0.0])),
    "edm": (schedules.edm(), np.array([80.0, 0.002])),
    "rectified_flow": (schedules.rectified_flow(), np.array([0.999, 1e-3])),
}
SOLVERS = {
    "ddim": samplers.ddim,
    "dpm_solver_1": solvers.dpm_solver_1,
    "dpm_solver_2m": solvers.dpm_solver_2m,
    "dpm_solver_2s": solvers.dpm_solver_2s,
    "heun": solvers.heun,
    "unipc_1": partial(solvers.unipc, order=1),
    "unipc_2": partial(solvers.unipc, order=2),
    "unipc_3": partial(solvers.unipc, order=3),
    "unipc_2_bh1": partial(solvers.unipc, order=2, scale=solvers.bh1),
}
WEIGHTS, MEANS, SPREAD = np.array([0.5, 0.5]), np.array([-1.0, 1.0]), 0.1


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def normal(process, spread, mean=0.0):
    """E[x_0 | x_t] of data N(mean, spread^2)."""

    def denoise(x, t):
        alpha, sigma = process.at(t, x)
        return (mean * sigma**2 + alpha * spread**2 * x) / (alpha**2 * spread**2 + sigma**2)

    return denoise


def mixture(process, spread=SPREAD):
    def denoise(x, t):
        alpha, sigma = process.at(t, x[..., None])
        variance = alpha**2 * spread**2 + sigma**2
        logits = jnp.log(WEIGHTS) - (x[..., None] - alpha * MEANS) ** 2 / (2 * variance)
        return (jax.nn.softmax(logits) * (MEANS * sigma**2 + alpha * spread**2 * x[..., None]) / variance).sum(-1)

    return denoise


def cdf(x, alpha=1.0, sigma=0.0, spread=SPREAD):
    return stats.norm.cdf((np.asarray(x)[..., None] - alpha * MEANS) / np.hypot(alpha * spread, sigma)) @ WEIGHTS


def marginal(process, t, spread):
    return float(np.hypot(process.alpha(jnp.asarray(t)) * spread, process.sigma(jnp.asarray(t))))


def error(sampler, process, when, spread=0.5):
    """Relative error of the factor by which the flow of normal data shrinks x."""
    x = jnp.ones((1, 1)) * 0.7
    got = jax.jit(lambda x: sampler(process, normal(process, spread), when, jax.random.key(0), x))(x)
    exact = marginal(process, when[-1], spread) / marginal(process, when[0], spread)
    return float(got[0, 0] / x[0, 0]) / exact - 1


@pytest.mark.parametrize(
    ("sampler", "steps", "spread", "expected"),
    [
        (solvers.heun, 18, 0.5, 5.527e-2), (solvers.heun, 36, 0.5, 1.221e-2), (solvers.heun, 72, 0.5, 2.871e-3),
        (solvers.heun, 144, 0.5, 6.910e-4), (solvers.heun, 288, 0.5, 1.642e-4), (solvers.heun, 18, 1.0, 4.481e-2),
        (solvers.heun, 36, 1.0, 9.965e-3), (solvers.heun, 72, 1.0, 2.353e-3), (samplers.ddim, 18, 0.5, -1.539e-1),
        (solvers.dpm_solver_1, 36, 0.5, -7.799e-2), (samplers.ddim, 72, 0.5, -3.924e-2),
        (samplers.ddim, 144, 0.5, -1.968e-2), (samplers.ddim, 288, 0.5, -9.861e-3),
    ],
)  # fmt: skip
def test_known_errors_on_the_noise_levels_of_edm(sampler, steps, spread, expected):
    got = error(sampler, schedules.edm(), times.karras(80.0, 0.002, steps), spread)
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_noise_levels_of_edm():
    expected = [80, 57.585985, 40.785574, 28.374585, 19.352453, 12.910082, 8.400935, 5.315195, 3.256822, 1.92334,
                1.088171, 0.585348, 0.296442, 0.139516, 0.059947, 0.022935, 0.007528, 0.002, 0]  # fmt: skip
    np.testing.assert_allclose(times.karras(80.0, 0.002, 18), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("dpm_solver_1", {8: -0.2586, 16: -0.1390, 32: -0.0721, 64: -0.03672}),
        ("dpm_solver_2m", {8: 2.905e-2, 16: 1.904e-2, 32: 5.411e-3, 64: 1.387e-3, 128: 3.487e-4}),
        ("dpm_solver_2s", {8: -6.861e-2, 16: -1.987e-2, 32: -5.300e-3, 64: -1.364e-3}),
        ("unipc_1", {16: -6.130e-2, 32: -1.644e-2, 64: -4.178e-3, 128: -1.049e-3}),
        ("unipc_2", {16: 1.459e-2, 32: 2.125e-3, 64: 2.751e-4, 128: 3.472e-5}),
        ("unipc_3", {16: 1.676e-3, 32: -1.025e-4, 64: -1.449e-5, 128: -1.143e-6}),
        ("unipc_2_bh1", {16: 3.906e-2, 32: 4.421e-3, 64: 5.222e-4, 128: 6.324e-5}),
    ],
)
def test_known_errors_at_even_steps_of_the_log_snr(name, errors):
    for steps, expected in errors.items():
        got = error(SOLVERS[name], VP, times.even_log_snr(VP, 1.0, 1e-3, steps))
        np.testing.assert_allclose(got, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("rule", "factors"),
    [
        (solvers.euler_rule, {1: 0.0, 2: 0.2, 4: 0.340541, 8: 0.414785, 16: 0.455683, 64: 0.488555, 256: 0.497114}),
        (solvers.midpoint_rule, {1: 0.4, 2: 0.494387, 4: 0.498291, 8: 0.499776, 16: 0.499972}),
    ],
)
def test_known_factors_on_straight_paths(rule, factors):
    flow = schedules.rectified_flow()
    for steps, expected in factors.items():
        when = times.even(1.0, 0.0, steps)
        got = solvers.flow(flow, normal(flow, 0.5), when, jax.random.key(0), jnp.ones((1, 1)), rule=rule)
        np.testing.assert_allclose(got[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("process", PROCESSES)
def test_rules_in_time_have_their_orders(process):
    path, (first, _) = PROCESSES[process]
    first, last = first / 2, first / 4  # where time itself is a fair measure
    # Of normal data the midpoint rule loses its leading error where x is scaled by a root of a quadratic in time.
    midpoint = 3 if process in ("edm", "rectified_flow") else 2
    for rule, order in ((solvers.euler_rule, 1), (solvers.midpoint_rule, midpoint), (solvers.runge_kutta_rule, 4)):
        errors = [abs(error(partial(solvers.flow, rule=rule), path, times.even(first, last, n))) for n in (10, 20)]
        assert abs(np.log2(errors[0] / errors[1]) - order) < 0.3


def test_heun_maps_quantiles_of_a_mixture():
    start = [-131.59867, -67.33501, -30.82807, -10.05370, 20.26937, 53.96344, 131.59867]
    exact = [-1.12815516, -1.02533471, -0.94755995, -0.87184484, 0.91583788, 1.0, 1.12815516]
    edm = schedules.edm()
    for steps, expected in {18: 1.724e-2, 36: 3.490e-3, 72: 7.776e-4, 144: 1.669e-4}.items():
        when = times.karras(80.0, 0.002, steps)
        got = solvers.heun(edm, mixture(edm), when, jax.random.key(0), jnp.asarray(start)[:, None])[:, 0]
        np.testing.assert_allclose(np.abs(got - np.asarray(exact)).max(), expected, rtol=0.01)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_last_step_into_the_data_is_the_denoiser(name):
    x = jnp.array([[0.3], [-0.8]])
    for path, when, data in ((VP, [0.4, 0.1, 0.0], 0.0), (schedules.ve(), [0.8, 0.2, -np.inf], -np.inf)):
        if name == "dpm_solver_2s" and np.isinf(data):
            continue
        got = SOLVERS[name](path, mixture(path), np.array(when[1:]), jax.random.key(0), x)
        np.testing.assert_allclose(got, mixture(path)(x, jnp.full(2, when[1])), rtol=1e-6)
        longer = SOLVERS[name](path, mixture(path), np.array(when), jax.random.key(0), x)
        assert np.all(np.isfinite(longer))


def test_solvers_take_a_chain():
    chain = schedules.discrete(schedules.linear_betas(1000))
    x, when = jnp.array([[1.0], [-2.0]]), times.trailing(1000, 20)
    solve = lambda sampler: sampler(chain, normal(chain, 1.0), when, jax.random.key(0), x)  # noqa: E731
    ddim = solve(samplers.ddim)
    np.testing.assert_allclose(solve(solvers.dpm_solver_1), ddim, rtol=1e-9)
    for sampler in (solvers.heun, solvers.dpm_solver_2m, partial(solvers.unipc, order=3)):
        assert np.abs(solve(sampler) - x).max() < np.abs(ddim - x).max()  # the exact flow of N(0, 1) keeps x
    for refused in (solvers.dpm_solver_2s, partial(solvers.heun, churn=10)):
        with pytest.raises(ValueError, match="continuous time"):
            solve(refused)


def test_churn_reaches_the_law_of_the_data():
    edm = schedules.edm()
    x = 80 * jax.random.normal(jax.random.key(0), (20_000, 1))
    when = times.karras(80.0, 0.002, 60)
    sample = partial(solvers.heun, churn=30, churn_from=0.05, churn_to=50.0)
    got = jax.jit(lambda x: sample(edm, mixture(edm), when, jax.random.key(1), x))(x)[:, 0]
    assert stats.kstest(np.asarray(got), cdf).statistic < 0.02
    calm = jax.jit(lambda x: solvers.heun(edm, mixture(edm), when, jax.random.key(1), x))(x)[:, 0]
    assert np.mean(np.sign(got) != np.sign(calm)) > 0.05  # the noise moved some to the other mode


@pytest.mark.parametrize("steps", [3, 9])
def test_steps_that_are_not_churned_add_nothing(steps):
    """Not the root of a rounding error either, which may be that of less than nothing."""
    edm, when = schedules.edm(), times.karras(80.0, 0.002, steps)
    sample = partial(solvers.heun, churn=20, churn_from=0.05, churn_to=50.0)
    got = jax.jit(lambda x: sample(edm, mixture(edm), when, jax.random.key(1), x))(80 * jnp.ones((3, 1)))
    assert jnp.isfinite(got).all()


def test_langevin_at_rest_widens_by_its_ratio():
    """At its stationary law the variance is v / (1 - q^2), for steps set by the norms of many pixels."""
    variance, ratio = 0.7, 0.16
    x = np.sqrt(variance) * jax.random.normal(jax.random.key(0), (16, 4096))

    def step(x, key):
        return langevin.langevin(-x / variance, key, x, ratio=ratio), None

    x, _ = jax.lax.scan(step, x, jax.random.split(jax.random.key(1), 300))
    np.testing.assert_allclose(x.var(), variance / (1 - ratio**2), rtol=0.01)


def test_langevin_stays_where_there_is_no_score():
    """As an untrained network has none; the other images of the batch move on."""
    x = jax.random.normal(jax.random.key(0), (3, 16))
    got = langevin.langevin(x * jnp.array([[0.0], [1e-30], [1.0]]), jax.random.key(1), x, ratio=0.16)
    np.testing.assert_array_equal(got[:2], x[:2])
    assert np.isfinite(got).all() and (got[2] != x[2]).all()


@pytest.mark.slow
def test_samples_do_not_depend_on_their_batch_mates():
    x = jax.random.normal(jax.random.key(4), (8, 3))
    when = times.even(1.0, 1e-3, 12)
    everyone = dict(SOLVERS)
    everyone |= {"pc": langevin.predictor_corrector, "flow": solvers.flow, "churn": partial(solvers.heun, churn=5)}
    everyone |= {"adaptive": adaptive.adaptive_flow}
    for sampler in everyone.values():
        run = jax.jit(lambda x, sampler=sampler: sampler(VP, mixture(VP), when, jax.random.key(0), x))
        np.testing.assert_allclose(run(x)[:4], run(x[:4]), rtol=1e-9, atol=1e-9)
