"""Processes in continuous time against their tables, their equations and each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from gen_jax.diffusion import precondition, schedules, times, training
from gen_jax.diffusion import process as p

PATHS = {
    "vp": schedules.vp(),
    "vp_cosine": schedules.vp_cosine(),
    "vp_sigmoid": schedules.vp_sigmoid(),
    "sub_vp": schedules.sub_vp(),
    "ve": schedules.ve(),
    "edm": schedules.edm(),
    "rectified_flow": schedules.rectified_flow(),
}
KINDS = {"x0": p.X0, "eps": p.EPS, "v": p.V, "score": p.SCORE, "velocity": p.VELOCITY}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_tables():
    vp, sub_vp, ve = PATHS["vp"], PATHS["sub_vp"], PATHS["ve"]
    np.testing.assert_allclose(vp.alpha(jnp.array(1.0)) ** 2, 4.318574906e-5, rtol=1e-8)
    np.testing.assert_allclose(
        vp.sigma(jnp.array([1.0, 1e-3, 1e-5])), [0.9999784069, 0.0104854163, 0.00100049713], rtol=1e-8
    )
    np.testing.assert_allclose(sub_vp.sigma(jnp.array(1.0)), 0.9999568143, rtol=1e-9)
    np.testing.assert_allclose(ve.sigma(jnp.array([0.0, 0.5, 1.0])), [0.01, np.sqrt(0.5), 50.0], rtol=1e-9)
    assert ve.sigma(jnp.array(-jnp.inf)) == 0


@pytest.mark.parametrize(("start", "end", "temperature"), [(-3.0, 3.0, 1.0), (-3.0, 3.0, 0.9), (0.0, 3.0, 0.3)])
def test_the_sigmoid_path(start, end, temperature):
    """Of the papers' formula in its own terms, with the noise beside it."""
    path, t = schedules.vp_sigmoid(start=start, end=end, temperature=temperature), np.linspace(0, 1, 11)
    low, now, high = (1 / (1 + np.exp(-u / temperature)) for u in (start, t * (end - start) + start, end))
    left = (high - now) / (high - low)
    np.testing.assert_allclose(path.alpha(jnp.asarray(t)) ** 2, left, atol=1e-12)
    np.testing.assert_allclose(path.sigma(jnp.asarray(t)) ** 2, 1 - left, atol=1e-12)
    if start == -end:
        np.testing.assert_allclose(path.alpha(jnp.asarray(0.5)) ** 2, 0.5, rtol=1e-12)


def test_the_linear_chain_is_the_preserving_path_in_thousand_steps():
    """Betas of the chain are the path's rate over the number of steps, so their marginals agree to that order."""
    chain, t = schedules.discrete(schedules.linear_betas(1000)), np.array([50, 300, 700])
    np.testing.assert_allclose(chain.alpha(t), PATHS["vp"].alpha(jnp.asarray((t + 1) / 1000)), rtol=0.02)


@pytest.mark.parametrize("name", PATHS)
def test_times_are_those_of_their_ratio(name):
    path, t = PATHS[name], jnp.linspace(0.02, 0.98, 13)
    np.testing.assert_allclose(path.time(path.sigma(t) / path.alpha(t)), t, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "drift", "spread"),
    [
        ("vp", lambda t: -(0.1 + 19.9 * t) / 2, lambda t: 0.1 + 19.9 * t),
        ("sub_vp", lambda t: -(0.1 + 19.9 * t) / 2,
         lambda t: (0.1 + 19.9 * t) * (1 - np.exp(-2 * (0.1 * t + 19.9 * t**2 / 2)))),
        ("ve", lambda t: 0 * t, lambda t: (0.01 * 5000**t) ** 2 * 2 * np.log(5000)),
        ("edm", lambda t: 0 * t, lambda t: 2 * t),
        ("rectified_flow", lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t)),
    ],
)  # fmt: skip
def test_drift_and_diffusion(name, drift, spread):
    t = np.linspace(0.05, 0.95, 7)
    got = PATHS[name].forward(jnp.asarray(t), jnp.zeros((7, 2, 1)))
    assert got[0].shape == got[1].shape == (7, 1, 1)
    np.testing.assert_allclose(got[0].ravel(), drift(t), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got[1].ravel(), spread(t), rtol=1e-9)


@pytest.mark.parametrize("name", PATHS)
def test_the_equation_has_the_marginals_of_its_path(name):
    """Mean and variance carried along by the equation's drift and diffusion end where alpha and sigma say."""
    path, zero = PATHS[name], jnp.zeros(1)

    def moments(t, state):
        drift, spread = (float(a[0]) for a in path.forward(jnp.asarray(t), zero))
        return [drift * state[0], 2 * drift * state[1] + spread]

    first, last = 0.1, 0.8
    start = [float(path.alpha(jnp.asarray(first))), float(path.sigma(jnp.asarray(first))) ** 2]
    end = integrate.solve_ivp(moments, (first, last), start, rtol=1e-8, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(end[0], path.alpha(jnp.asarray(last)), rtol=1e-6)
    np.testing.assert_allclose(end[1], path.sigma(jnp.asarray(last)) ** 2, rtol=1e-6)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(KINDS, KINDS)))
@pytest.mark.parametrize("name", PATHS)
def test_conversions_go_round(name, source, target):
    path, t = PATHS[name], jnp.array([0.1, 0.3, 0.6, 0.9])
    x_0, noise = jax.random.normal(jax.random.key(0), (2, 4, 3, 1))
    x_t = path.diffuse(x_0, noise, t)
    y = KINDS[source].target(path, x_0, noise, t)
    there = p.convert(path, y, x_t, t, KINDS[source], KINDS[target])
    np.testing.assert_allclose(there, KINDS[target].target(path, x_0, noise, t), rtol=1e-7, atol=1e-8)
    denoise = p.denoiser(path, lambda x, t: y, KINDS[source])
    np.testing.assert_allclose(denoise(x_t, t), x_0, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", PATHS)
def test_velocity_is_the_slope_of_a_path(name):
    path, t, h = PATHS[name], jnp.array([0.2, 0.7]), 1e-6
    x_0, noise = jax.random.normal(jax.random.key(0), (2, 2, 3))
    slope = (path.diffuse(x_0, noise, t + h) - path.diffuse(x_0, noise, t - h)) / (2 * h)
    np.testing.assert_allclose(p.VELOCITY.target(path, x_0, noise, t), slope, rtol=1e-6)


def test_a_chain_has_no_rates():
    chain = schedules.discrete(schedules.linear_betas(10, last=0.3))
    with pytest.raises(TypeError, match="continuous time"):
        chain.rates(jnp.array([3]), jnp.zeros((1, 1)))
    with pytest.raises(ValueError, match="continuous time"):
        times.even_log_snr(chain, 9, 0, 5)


def test_zero_terminal_snr():
    alpha_bar = np.cumprod(1 - schedules.zero_terminal_snr(schedules.linear_betas(1000)))
    np.testing.assert_allclose(alpha_bar[[0, 500, 998]], [0.9999, 0.0752462157, 4.21326e-9], rtol=1e-5)
    assert abs(alpha_bar[999]) < 1e-12


def test_grids_of_continuous_time():
    np.testing.assert_allclose(times.even(1.0, 0.2, 4), [1.0, 0.8, 0.6, 0.4, 0.2])
    assert times.karras(80.0, 0.002, 5, data=None).shape == times.karras(80.0, 0.002, 5).shape == (6,)
    for name, path in PATHS.items():
        when = times.even_log_snr(path, 0.9, 0.05, 6)
        steps = np.diff(np.log(path.sigma(jnp.asarray(when)) / path.alpha(jnp.asarray(when))))
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-6, err_msg=name)
        assert (when[0], when[-1]) == (0.9, 0.05)


def test_preconditioning_keeps_unit_variance():
    """A silent network's weighted loss is 1 at every noise; input and target of the network have variance 1."""
    rng, spread = np.random.default_rng(0), 0.5
    x_0, noise = spread * rng.normal(size=(4, 100_000)), rng.normal(size=(4, 100_000))
    t = jnp.array([0.01, 0.3, 2.0, 60.0])
    x_t = schedules.edm().diffuse(jnp.asarray(x_0), jnp.asarray(noise), t)
    seen = []

    def network(value):
        return lambda x, label: (seen.append((x, label)), jnp.full_like(x, value))[1]

    edm, inputs, prediction = schedules.edm(), precondition.edm_inputs(), precondition.edm_prediction()

    def denoised(value):
        raw = network(value)(inputs.scale(edm, t)[:, None] * x_t, inputs.noise(edm, t))
        return prediction.x_0(edm, raw, x_t, t)

    silent, loud = (denoised(value) for value in (0.0, 1.0))
    loss = precondition.edm_weight()(edm, t) * ((silent - x_0) ** 2).mean(axis=1)
    np.testing.assert_allclose(loss, 1.0, rtol=0.02)
    target = (x_0 - silent) / (loud - silent)  # what the network would have to say
    np.testing.assert_allclose(target.var(axis=1), 1.0, rtol=0.02)
    np.testing.assert_allclose(seen[0][0].var(axis=1), 1.0, rtol=0.02)
    np.testing.assert_allclose(seen[0][1], np.log(t) / 4)


def test_training_noise_is_log_normal():
    logs = np.log(training.log_normal()(training.spread(jax.random.key(0), 100_000)))
    np.testing.assert_allclose([logs.mean(), logs.std()], [-1.2, 1.2], atol=0.02)
