"""D2GAN: the critics' optima and their value in closed form, a stable logarithm, the published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import REAL, Field
from gen_jax.losses.dual import log_softplus, rewards_data, rewards_samples
from gen_jax.models.d2gan import REFERENCE, D2GANConfig
from gen_jax.nn.functional import parameter_count

POINTS = {"point": Field((2,), REAL)}


def logit(reward):
    """d with softplus(d) = reward."""
    return jnp.asarray(reward + np.log(-np.expm1(-reward)), jnp.float32)


def value_at_the_optimum(alpha, beta, kl, reverse):
    return alpha * (1 - np.log(alpha) - kl) + beta * (1 - np.log(beta) - reverse)


@pytest.mark.parametrize("tenths", [(2, 3, 5), (5, 3, 2), (1, 8, 1)])
@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (0.3, 0.7)])
def test_the_best_critics_are_density_ratios_and_reach_both_divergences(tenths, alpha, beta):
    """On three points, of which data and samples have tenths: no step away is better, and the value is exact."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array(tenths) / 10
    kl, reverse = np.sum(p * np.log(p / q)), np.sum(q * np.log(q / p))
    total = 0.0
    for loss, best in ((rewards_data(alpha), logit(alpha * p / q)), (rewards_samples(beta), logit(beta * q / p))):

        def value(d, loss=loss):
            return loss.critic(d[np.repeat(np.arange(3), [5, 3, 2])], d[np.repeat(np.arange(3), tenths)])

        np.testing.assert_allclose(jax.grad(value)(best), 0, atol=1e-6)
        for step in np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32):
            assert value(best + 0.3 * step) > value(best)
        total += value(best)
    np.testing.assert_allclose(total, value_at_the_optimum(alpha, beta, kl, reverse), rtol=1e-5)
    if kl == 0 and alpha == beta == 1:
        np.testing.assert_allclose(total, 2, rtol=1e-6)


def test_log_softplus_and_its_slope_in_double_precision():
    d = np.concatenate([np.linspace(-80, 80, 321), [-15.001, -15, -14.999, -1e4, 1e4, -1e30, 1e30]])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        exact = np.where(d < -30, d, np.where(d > 500, np.log(d), np.log(np.log1p(np.exp(d)))))
        slope = np.where(d < -30, 1, 1 / (1 + np.exp(-d)) / np.where(d > 500, d, np.log1p(np.exp(d))))
    inputs = jnp.asarray(d, jnp.float32)
    np.testing.assert_allclose(log_softplus(inputs), exact, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(log_softplus))(inputs), slope, rtol=2e-6)


def test_the_generator_is_drawn_to_the_first_and_away_from_the_second():
    d = jnp.linspace(-8.0, 8.0, 33)
    sigmoid = 1 / (1 + np.exp(-np.asarray(d, np.float64)))
    slope = lambda loss: jax.vmap(jax.grad(loss.generator))(d)  # noqa: E731
    np.testing.assert_allclose(slope(rewards_data(0.3)), -sigmoid, rtol=1e-5)
    np.testing.assert_allclose(slope(rewards_samples(0.3)), 0.3 * sigmoid / np.log1p(np.exp(d)), rtol=1e-4)


def test_the_published_sizes_and_first_weights():
    model = REFERENCE.build(POINTS)
    assert parameter_count(model.generator.init) == 49_666
    assert [parameter_count(critic.network.init) for critic in model.critics] == [513, 513]
    params, _ = jax.jit(model.init)(jax.random.key(0), {})
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if path[-1].key == "bias":
            assert not np.any(leaf)
        else:
            np.testing.assert_allclose(np.std(leaf), 0.01, rtol=0.3)


def test_turns_by_hand():
    """The generator's loss is the sum over both critics, and each critic's is its own."""
    model = D2GANConfig(4, (8,), (8,), alpha=0.4, beta=0.6).build(POINTS)
    assert [turn.player for turn in model.turns] == ["data_critic", "sample_critic", "generator"]
    draw = np.random.default_rng(0).normal
    params, buffers = jax.eval_shape(model.init, jax.random.key(0), {})
    params = jax.tree.map(lambda a: draw(size=a.shape).astype(np.float32), params)
    batch, key = {"point": draw(size=(6, 2)).astype(np.float32)}, jax.random.key(1)
    fake = model.decode(params, buffers, model.latents(key, 6))

    def reward(name, x):
        h = np.asarray(x, np.float64)
        layers = params[name]["body"]["layers"]
        for i in ("0", "1"):
            h = h @ layers[i]["kernel"] + layers[i]["bias"]
            h = np.maximum(h, 0) if i == "0" else h
        return np.logaddexp(0, h[:, 0])

    (data, data_fake), (sample, sample_fake) = (
        (reward(name, batch["point"]), reward(name, fake)) for name in ("data_critic", "sample_critic")
    )
    expected = [
        -0.4 * np.log(data).mean() + data_fake.mean(),
        sample.mean() - 0.6 * np.log(sample_fake).mean(),
        -data_fake.mean() + 0.6 * np.log(sample_fake).mean(),
    ]
    found = [jax.jit(turn.loss)(params, buffers, batch, key, step=0, ema=None)[0] for turn in model.turns]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("values", [{"alpha": 0.0}, {"beta": 1.5}])
def test_weights_are_shares_above_zero(values):
    with pytest.raises(ValueError, match="expected 0 to 1 without 0"):
        D2GANConfig(**values)
