"""Adversarial losses against the divergences that they stand for, and penalties against linear algebra."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats

from gen_jax.losses import adversarial
from gen_jax.losses.adversarial import (
    gradient_penalty,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    r1,
    relativistic,
    relativistic_average,
    wasserstein,
)

LOSSES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "hinge": hinge,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
    "relativistic_average": relativistic_average,
}


def of_generator(loss, real, fake):
    return loss.generator(fake, real) if loss.is_relativistic else loss.generator(fake)


every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())

# p = N(0, 1) against q = N(mean, std^2): log 4 - 2 JSD and 2 (1 - TV), by quadrature in double precision.
PAIRS = [
    (1.0, 1.0, 1.163451, 1.234150),
    (2.0, 1.0, 0.712633, 0.634621),
    (4.0, 1.0, 0.120854, 0.091001),
    (0.0, 2.0, 1.200828, 1.354651),
    (1.0, 2.0, 1.129944, 1.219869),
]


def quantiles(mean, std, n=20_001):
    """Points whose plain mean is an expectation under the Gaussian: a sample without its noise."""
    return (mean + std * stats.norm.ppf((np.arange(n) + 0.5) / n)).astype(np.float32)


@pytest.mark.parametrize("mean, std, value, _", PAIRS)
def test_optimal_critic_reaches_the_jensen_shannon_divergence(mean, std, value, _):
    def logit(x):
        return jnp.asarray(stats.norm.logpdf(x) - stats.norm.logpdf(x, mean, std), jnp.float32)

    real, fake = logit(quantiles(0, 1)), logit(quantiles(mean, std))
    for loss in (minimax, non_saturating):
        np.testing.assert_allclose(jax.jit(loss.critic)(real, fake), value, atol=2e-4)


@pytest.mark.parametrize("mean, std, _, value", PAIRS)
def test_optimal_hinge_critic_reaches_the_total_variation(mean, std, _, value):
    def sign(x):
        return jnp.sign(jnp.asarray(stats.norm.logpdf(x) - stats.norm.logpdf(x, mean, std), jnp.float32))

    np.testing.assert_allclose(
        jax.jit(hinge.critic)(sign(quantiles(0, 1)), sign(quantiles(mean, std))), value, atol=5e-4
    )


@pytest.mark.parametrize("mean, std", [pair[:2] for pair in PAIRS])
def test_optimal_least_squares_critic(mean, std):
    p, q = (lambda x: stats.norm.pdf(x)), (lambda x: stats.norm.pdf(x, mean, std))
    value = 0.5 * integrate.quad(lambda x: p(x) * q(x) / (p(x) + q(x)), -12, 16, limit=400)[0]

    def best(x):
        return jnp.asarray(p(x) / (p(x) + q(x)), jnp.float32)

    np.testing.assert_allclose(
        least_squares.critic(best(quantiles(0, 1)), best(quantiles(mean, std))), value, atol=2e-4
    )


def test_fitted_logit_is_the_log_density_ratio():
    # N(0, 1) against N(2, 1): log p - log q = 2 - 2 x, and the loss there is 0.712633, not log 2.
    real, fake = quantiles(0, 1), quantiles(2, 1)
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda w: non_saturating.critic(w[0] + w[1] * real, w[0] + w[1] * fake))
    )
    result = optimize.minimize(
        lambda w: jax.tree.map(lambda a: np.asarray(a, np.float64), value_and_grad(w.astype(np.float32))),
        np.zeros(2),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-5},
    )
    np.testing.assert_allclose(result.x, [2.0, -2.0], atol=0.02)
    np.testing.assert_allclose(result.fun, 0.712633, atol=2e-4)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES.values() if not loss.is_relativistic])
def test_fitted_critic_is_the_best(loss):
    # Free logits on a discrete space: descending the critic's loss must stop where its closed form says.
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    best = {
        minimax: np.log(p / q),
        non_saturating: np.log(p / q),
        hinge: np.sign(p - q),
        least_squares: p / (p + q),
    }.get(loss)
    if best is None:  # unbounded below without a Lipschitz constraint; its gradient is the density difference
        weight = jax.grad(lambda d: loss.critic(d[jnp.array([0] * 5 + [1] * 3 + [2] * 2)], _under(q, d)))(jnp.zeros(3))
        np.testing.assert_allclose(weight, q - p, atol=1e-6)
        return

    def value(d):
        return loss.critic(_under(p, d), _under(q, d))

    best = jnp.asarray(best, jnp.float32)
    for direction in np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32):
        assert value(best + 0.2 * direction) >= value(best) - 1e-6
    if loss is not hinge:  # not differentiable at its optimum
        np.testing.assert_allclose(jax.grad(value)(best), 0, atol=1e-6)


def _under(law, logits):
    """Logits repeated so that their plain mean is the expectation under ``law``, given in tenths."""
    return logits[np.repeat(np.arange(3), np.rint(10 * law).astype(int))]


def test_generator_gradients_against_the_logit():
    d = jnp.linspace(-6.0, 6.0, 25)

    def slope(loss):
        return jax.vmap(jax.grad(loss.generator))(d)

    sigmoid = 1 / (1 + np.exp(-np.asarray(d, np.float64)))
    np.testing.assert_allclose(slope(minimax), -sigmoid, rtol=1e-5)
    np.testing.assert_allclose(slope(non_saturating), -(1 - sigmoid), rtol=1e-5)
    np.testing.assert_allclose(slope(hinge), -np.ones(25), rtol=1e-6)
    np.testing.assert_allclose(slope(wasserstein), -np.ones(25), rtol=1e-6)
    np.testing.assert_allclose(slope(least_squares), np.asarray(d) - 1, rtol=1e-6)


def test_values_at_an_undecided_critic():
    zero = jnp.zeros(7)
    expected = {
        "minimax": np.log(4),
        "non_saturating": np.log(4),
        "hinge": 2,
        "least_squares": 0.5,
        "wasserstein": 0,
        "relativistic": np.log(2),
        "relativistic_average": np.log(2),
    }
    for name, loss in LOSSES.items():
        np.testing.assert_allclose(loss.critic(zero, zero), expected[name], rtol=1e-6)


@every_loss
def test_stable_at_extreme_logits(loss):
    for real in (-1e4, 0.0, 1e4):
        for fake in (-1e4, 0.0, 1e4):
            arguments = jnp.full(3, real), jnp.full(3, fake)
            chex.assert_tree_all_finite(jax.value_and_grad(loss.critic, argnums=(0, 1))(*arguments))
            chex.assert_tree_all_finite(
                jax.value_and_grad(lambda real, fake: of_generator(loss, real, fake), argnums=1)(*arguments)
            )
    # and exact: softplus(1e4) is 1e4
    if loss is non_saturating:
        assert loss.generator(jnp.full(3, -1e4)) == 1e4
        assert loss.critic(jnp.full(3, -1e4), jnp.full(3, 1e4)) == 2e4


@every_loss
def test_means_over_the_batch(loss):
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    shuffled = jax.random.permutation(jax.random.key(1), 6)
    for other in (lambda a: jnp.tile(a, 4), lambda a: a[shuffled], lambda a: a[:, None]):
        np.testing.assert_allclose(loss.critic(other(real), other(fake)), loss.critic(real, fake), rtol=1e-6)
        np.testing.assert_allclose(
            of_generator(loss, other(real), other(fake)), of_generator(loss, real, fake), rtol=1e-6
        )


def test_the_best_relativistic_critic_reaches_the_divergence_of_pairs():
    """log 2 - JSD(p x q, q x p), at log p - log q and any constant; examples of which each stands for a quarter."""
    p, q = np.array([2, 1, 1]) / 4, np.array([1, 1, 2]) / 4
    pairs, turned = np.outer(p, q), np.outer(q, p)
    middle = (pairs + turned) / 2
    divergence = 0.5 * (pairs * np.log(pairs / middle) + turned * np.log(turned / middle)).sum()
    logit = jnp.asarray(np.log(p / q), jnp.float32)
    real, fake = (a.ravel() for a in np.meshgrid([0, 0, 1, 2], [0, 1, 2, 2]))
    for constant in (0.0, 5.0):
        best = relativistic.critic(logit[real] + constant, logit[fake] + constant)
        np.testing.assert_allclose(best, np.log(2) - divergence, rtol=1e-5)
    noise = np.random.default_rng(0).normal(size=(20, 3))
    assert all(relativistic.critic((logit + e)[real], (logit + e)[fake]) > best for e in noise)


@pytest.mark.parametrize("loss", [relativistic, relativistic_average], ids=["pairs", "averages"])
def test_relativistic_losses_see_differences_alone(loss):
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    np.testing.assert_allclose(loss.critic(real + 3.0, fake + 3.0), loss.critic(real, fake), rtol=1e-5)
    np.testing.assert_allclose(loss.generator(fake, real), loss.critic(fake, real), rtol=1e-6)  # the places exchanged
    for value in (loss.critic(real * 0, fake * 0), loss.generator(fake * 0, real * 0)):
        np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    sure = -loss.critic(real + 50.0, fake), loss.generator(fake, real + 50.0)
    np.testing.assert_allclose(sure, (0.0, 50 + (real - fake).mean()), rtol=1e-5, atol=1e-6)


PENALTIES = {
    "r1": lambda critic, x: r1(critic, x, gamma=3.0),
    "gradient penalty": lambda critic, x: gradient_penalty(critic, x, x + 1.0, jax.random.key(5), weight=3.0),
}
every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())


@pytest.mark.parametrize("shape", [(4,), (2, 3, 2)])
def test_penalties_of_a_linear_critic(shape):
    # 0 at unit norm, else the same at every point: the axes of the norm are all but the first.
    keys = jax.random.split(jax.random.key(0), 3)
    w, real, fake = (jax.random.normal(k, s) for k, s in zip(keys, (shape, (5, *shape), (5, *shape))))

    def critic(x):
        return jnp.tensordot(x, w, axes=len(shape))

    norm = np.linalg.norm(w)
    np.testing.assert_allclose(jax.jit(lambda x: r1(critic, x, gamma=0.7))(real), 0.35 * norm**2, rtol=1e-5)
    penalty = jax.jit(lambda x, y: gradient_penalty(critic, x, y, keys[0]))(real, fake)
    np.testing.assert_allclose(penalty, 10 * (norm - 1) ** 2, rtol=1e-4)
    np.testing.assert_allclose(gradient_penalty(lambda x: critic(x) / norm, real, fake, keys[0]), 0, atol=1e-6)


def test_r1_of_a_quadratic_critic():
    # d(x) = x'Ax / 2 has gradient Ax for symmetric A: E||grad||^2 = tr(A A S) + |A m|^2, sample moments m, S.
    keys = jax.random.split(jax.random.key(1), 2)
    a = jax.random.normal(keys[0], (3, 3))
    a = a + a.T
    x = jax.random.normal(keys[1], (50, 3)) + 1.0
    mean, covariance = np.mean(x, axis=0), np.cov(x, rowvar=False, ddof=0)
    expected = np.trace(a @ a @ covariance) + np.sum((a @ mean) ** 2)
    value = jax.jit(lambda x: r1(lambda x: 0.5 * jnp.einsum("bi,ij,bj->b", x, a, x), x, gamma=2.0))(x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_penalty_points_lie_between_real_and_fake_each_with_its_own_weight():
    # d(x) = |x|^2 / 2 has gradient x: the mean of (|x| - 1)^2 on the segment from 1 to 3 is E (2u)^2 = 4/3.
    real = jnp.ones((20_000, 1))
    value = gradient_penalty(lambda x: 0.5 * jnp.square(x).sum(-1), real, real + 2.0, jax.random.key(2), weight=1.0)
    np.testing.assert_allclose(value, 4 / 3, rtol=0.02)


@every_penalty
def test_constant_critic_leaves_the_parameters_finite(penalty):
    value, gradient = jax.value_and_grad(lambda w: penalty(lambda x: 0 * x.sum((1, 2)) * w + w, jnp.ones((3, 2, 2))))(
        1.0
    )
    assert np.isfinite(gradient)
    np.testing.assert_allclose(value, 0.0 if penalty is PENALTIES["r1"] else 3.0)


@every_penalty
def test_second_order_gradient_equals_finite_differences(penalty):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
        w = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5)))
        loss = jax.jit(lambda w: penalty(lambda x: jnp.tanh(x @ w).sum(-1), x))
        step = 1e-5 * jnp.asarray(np.random.default_rng(2).normal(size=w.shape))
        difference = (loss(w + step) - loss(w - step)) / 2
        np.testing.assert_allclose(jnp.vdot(jax.grad(loss)(w), step), difference, rtol=1e-6)


@every_penalty
def test_penalties_are_means_over_the_batch(penalty):
    x = jax.random.normal(jax.random.key(3), (4, 2, 2))

    def critic(x):
        return jnp.sin(x).sum((1, 2))

    if penalty is PENALTIES["r1"]:
        np.testing.assert_allclose(penalty(critic, jnp.tile(x, (5, 1, 1))), penalty(critic, x), rtol=1e-5)
        np.testing.assert_allclose(penalty(critic, x[::-1]), penalty(critic, x), rtol=1e-5)
    singles = jnp.stack([r1(critic, x[i : i + 1], gamma=3.0) for i in range(4)])
    np.testing.assert_allclose(r1(critic, x, gamma=3.0), singles.mean(), rtol=1e-5)


def test_every_loss_is_here():
    made = {k for k, v in vars(adversarial).items() if isinstance(v, adversarial.AdversarialLoss)}
    assert made == LOSSES.keys()
