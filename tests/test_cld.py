"""Critically damped Langevin diffusion against tables, its Lyapunov equation and normal data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from gen_jax.diffusion import cld, times
from gen_jax.fields import images
from gen_jax.models.cld import CLDConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network

PROCESS = cld.CriticallyDamped()
SHAPE = (8, 8, 1)
ROOT_MASS = 0.5  # the paper's velocity is this times ours


@pytest.mark.parametrize(
    ("t", "expected"),
    [(0.1, [0.22181006, 0.12985984, 0.21575835]), (0.25, [0.7648272, 0.07252993, 0.22728861]),
     (0.5, [0.98646073, 0.00528689, 0.24793355]), (1.0, [0.99998397, 7.0762e-6, 0.24999688])],
)  # fmt: skip
def test_covariances_equal_their_table(t, expected):
    got = PROCESS.covariance(jnp.array(t))
    np.testing.assert_allclose([got.xx, got.xw * ROOT_MASS, got.ww * ROOT_MASS**2], expected, rtol=2e-5)


def test_covariances_solve_the_lyapunov_equation():
    drift, noise = np.array([[0.0, 16.0], [-4.0, -16.0]]), np.diag([0.0, 8.0])  # of the paper's x and v

    def slope(t, s):
        s = s.reshape(2, 2)
        return (drift @ s + s @ drift.T + noise).ravel()

    at = [1e-3, 0.02, 0.3, 0.9]
    solved = integrate.solve_ivp(slope, (0, 1), [0, 0, 0, 0.01], t_eval=at, rtol=1e-10, atol=1e-14).y.T
    got = PROCESS.covariance(jnp.array(at))
    for i in range(4):
        expected = solved[i, [0, 1, 3]] / [1, ROOT_MASS, ROOT_MASS**2]
        np.testing.assert_allclose([got.xx[i], got.xw[i], got.ww[i]], expected, rtol=1e-4)
    l_xx, l_wx, l_ww = got.root
    np.testing.assert_allclose([l_xx**2, l_xx * l_wx, l_wx**2 + l_ww**2], np.array(got), rtol=1e-4)


def test_means_decay_without_turning_round():
    x, w = PROCESS.mean(jnp.ones((3, 1)), jnp.array([0.0, 0.1, 1.0]))
    solved = integrate.solve_ivp(lambda t, u: [8 * u[1], -8 * u[0] - 16 * u[1]], (0, 1), [1, 0], t_eval=[0, 0.1, 1],
                                 rtol=1e-9, atol=1e-12).y  # fmt: skip
    np.testing.assert_allclose([x[:, 0], w[:, 0]], solved, atol=1e-6)


def normal_score(process, spread):
    """Of N(0, spread^2) data."""

    def score(x, w, t):
        one = jnp.ones_like(x)
        mean_x, mean_w = process.mean(spread * one, t)
        xx, xw, ww = (a.reshape(-1, *[1] * (x.ndim - 1)) for a in process.covariance(t))
        xx, xw, ww = xx + mean_x**2, xw + mean_x * mean_w, ww + mean_w**2
        return -(xx * w - xw * x) / (xx * ww - xw**2)

    return score


@pytest.mark.parametrize(
    ("sampler", "steps", "expected"),
    [(cld.symmetric_splitting, 25, 0.207592),
     pytest.param(cld.symmetric_splitting, 50, 0.228475, marks=pytest.mark.slow),
     (cld.euler_maruyama, 25, 0.366320),
     pytest.param(cld.euler_maruyama, 50, 0.279972, marks=pytest.mark.slow)],
)  # fmt: skip
def test_known_variances_of_normal_data(sampler, steps, expected):
    """Both samplers are of first order; splitting is stable with few steps."""
    score = normal_score(PROCESS, 0.5)
    keys = jax.random.split(jax.random.key(0), 3)
    x, w = (jax.random.normal(k, (100_000, 1)) for k in keys[:2])
    when = times.even(1.0, 0.0, steps)
    got = jax.jit(lambda x, w: sampler(PROCESS, score, when, keys[2], x, w))(x, w)
    np.testing.assert_allclose(got.var(), expected, rtol=0.015)


@pytest.mark.slow
def test_splitting_is_exact_where_all_is_standard_normal():
    process = cld.CriticallyDamped(velocity_variance=1.0)
    score = normal_score(process, 1.0)
    x, w = jax.random.normal(jax.random.key(0), (2, 100_000, 1))
    np.testing.assert_allclose(score(x[:5], w[:5], jnp.full(5, 0.3)), -w[:5], rtol=1e-4, atol=1e-5)
    for steps in (1, 3, 20):
        when = times.even(1.0, 0.0, steps)
        got = jax.jit(lambda x, w, when=when: cld.symmetric_splitting(process, score, when, jax.random.key(1), x, w))(
            x, w
        )
        np.testing.assert_allclose(got.var(), 1.0, rtol=0.015)


def with_network(configuration, predict):
    """A model whose F is ``predict(x, w, t)``."""

    def apply(params, buffers, both, told, label=None, **_):
        return predict(both[..., :1], both[..., 1:], told / 1000), buffers

    model = dataclasses.replace(configuration.build(images(SHAPE)), network=Network(lambda key: ({}, {}), apply))
    return model, {"denoiser": {}}, {"denoiser": {}}


def exact(spread):
    """F that makes the score exact."""

    def predict(x, w, t):
        covariance = PROCESS.covariance(t)
        spread_w = covariance.root[2].reshape(-1, 1, 1, 1)
        return -spread_w * normal_score(PROCESS, spread)(x, w, t) - spread_w * w / covariance.ww.reshape(-1, 1, 1, 1)

    return predict


@pytest.mark.slow
def test_the_exact_score_has_the_least_loss_and_draws_the_data():
    batch = {"image": 0.3 * jax.random.normal(jax.random.key(0), (256, *SHAPE))}
    losses = {}
    for spread in (0.2, 0.3, 0.4):
        model, *state = with_network(CLDConfig(), exact(spread))
        loss = jax.vmap(lambda key, m=model, s=state: m.loss(*s, batch, key, step=0, ema=None)[0])
        losses[spread] = jax.jit(loss)(jax.random.split(jax.random.key(1), 20)).mean()
    assert losses[0.3] < min(losses[0.2], losses[0.4])
    model, *state = with_network(CLDConfig(sampling_steps=400), exact(0.3))
    x = jax.jit(model.sample, static_argnums=3)(*state, jax.random.key(2), 60)
    np.testing.assert_allclose([x.mean(), x.std()], [0.0, 0.3], atol=0.01)


def test_the_score_of_velocities_alone_needs_no_network():
    model, *state = with_network(CLDConfig(), lambda x, w, t: jnp.zeros_like(w))
    x, w = jax.random.normal(jax.random.key(0), (2, 3, *SHAPE))
    t = jnp.array([0.1, 0.5, 1.0])
    np.testing.assert_allclose(
        model.score(*state, x, w, t), -w / PROCESS.covariance(t).ww.reshape(-1, 1, 1, 1), rtol=1e-5
    )


def test_it_is_a_game():
    model = CLDConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1), sampling_steps=3, conditional=True).build(
        images(SHAPE, 3)
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), {})
    params, buffers = jax.tree.map(lambda a: 0.1 * jnp.ones(a.shape, a.dtype), shapes)
    batch = {"image": jnp.zeros((4, *SHAPE)), "label": jnp.arange(4) % 3}
    loss, _ = jax.jit(lambda p: model.loss(p, buffers, batch, jax.random.key(1), step=0, ema=None))(params)
    x = jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(2), 2)
    assert jnp.isfinite(loss) and x.shape == (2, *SHAPE) and model.network_evaluations == 3
    with pytest.raises(ValueError, match="velocity_variance"):
        CLDConfig(velocity_variance=0.0).build(images(SHAPE))
