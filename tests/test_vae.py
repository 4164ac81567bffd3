"""The variational autoencoder against closed forms."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

import gen_jax
from gen_jax import distributions
from gen_jax.fields import images
from gen_jax.losses.elbo import importance_weighted_bound
from gen_jax.models import likelihoods, vae
from gen_jax.nn.functional import parameter_count

KEY = jax.random.key(0)


def count(configuration, shape):
    return parameter_count(lambda key: configuration.build(images(shape)).init(key, {}))


def test_reference_configurations_have_the_published_numbers_of_parameters():
    assert count(vae.REFERENCE, (64, 64, 1)) == 502_005
    assert count(vae.REFERENCE, (64, 64, 3)) == 504_055
    assert count(vae.DENSE_REFERENCE, (28, 28, 1)) == 425_284


# The linear-Gaussian VAE is probabilistic PCA: with the principal axes as decoder and the exact posterior as encoder
# the bound equals the marginal likelihood (Tipping and Bishop 1999).


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    latent, size = 3, 16
    data = rng.normal(size=(500, latent)) @ rng.normal(size=(latent, size)) * 0.3 + 0.1 * rng.normal(size=(500, size))
    mean, covariance = data.mean(axis=0), np.cov(data.T)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = values[latent:].mean()
    w = vectors[:, :latent] * np.sqrt(values[:latent] - noise)  # [size, latent]
    m = w.T @ w + noise * np.eye(latent)
    posterior = np.linalg.solve(m, w.T)  # [latent, size]
    log_variance = np.log(np.diag(noise * np.linalg.inv(m)))
    game = vae.DenseVAEConfig(latent=latent, hidden=(), likelihood="gaussian").build(images((4, 4, 1)))
    params, buffers = game.init(KEY, {})
    encoder = params["vae"]["encoder"]["body"]["layers"]["0"]
    encoder["kernel"] = jnp.asarray(np.concatenate([posterior.T, np.zeros((size, latent))], axis=1))
    encoder["bias"] = jnp.asarray(np.concatenate([-posterior @ mean, log_variance]))
    decoder = params["vae"]["decoder"]["body"]["layers"]["0"]
    decoder["kernel"], decoder["bias"] = jnp.asarray(w.T), jnp.asarray(mean)
    buffers["vae"]["log_variance"] = jnp.asarray(np.log(noise))
    exact = stats.multivariate_normal(mean, w @ w.T + noise * np.eye(size))
    return game, params, buffers, exact, data


def _bound(game, params, buffers, x, key, samples):
    """The bound on undequantised data, so that it can be compared with the density exactly."""
    plain = dataclasses.replace(
        game,
        likelihood=likelihoods.GAUSSIAN._replace(target=lambda key, x: x, level_log_prob=0.0),
        importance_samples=samples,
    )
    batch = {"image": jnp.asarray(x, jnp.float32).reshape(-1, 4, 4, 1)}
    return np.asarray(jax.jit(plain.log_prob)(params, buffers, key, batch))


@pytest.mark.parametrize("samples", [1, 5])
def test_linear_gaussian_vae_equals_probabilistic_pca(linear, samples):
    game, params, buffers, exact, data = linear
    # With the exact posterior every importance weight is p(x), so each draw gives the likelihood itself.
    bound = _bound(game, params, buffers, data[:50], KEY, samples)
    np.testing.assert_allclose(bound, exact.logpdf(data[:50]), rtol=2e-4, atol=5e-3)


def test_the_importance_weighted_bound_rises_to_the_likelihood(linear):
    game, params, buffers, exact, data = linear
    worse = jax.tree.map(jnp.copy, params)
    worse["vae"]["encoder"]["body"]["layers"]["0"]["bias"] += jnp.asarray([0.1, -0.1, 0.1, 1.0, 1.0, 1.0])
    x = np.repeat(data[:8], 200, axis=0)
    bounds = [_bound(game, worse, buffers, x, jax.random.fold_in(KEY, k), k).mean() for k in (1, 2, 5, 25, 100)]
    assert np.all(np.diff(bounds) > 0)
    assert bounds[-1] <= exact.logpdf(data[:8]).mean() + 0.02
    np.testing.assert_allclose(bounds[-1], exact.logpdf(data[:8]).mean(), atol=0.05)


@pytest.mark.slow
def test_training_reaches_probabilistic_pca():
    """A linear VAE trained by gradient descent comes to the likelihood of the principal subspace."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 16)) * 0.1 + 0.03 * rng.normal(size=(500, 16))
    assert np.abs(data).max() < 1  # nothing is clipped
    images = np.round((data.reshape(-1, 4, 4, 1) + 1) * 127.5).astype(np.uint8)
    x = images.reshape(-1, 16) / 127.5 - 1
    x += distributions.LEVEL * rng.uniform(-0.5, 0.5, x.shape)
    configuration = vae.DenseVAEConfig(latent=3, hidden=(), likelihood="gaussian", importance_samples=1)
    training = gen_jax.Training(steps=2000, batch_size=96, log_every=500, steps_per_call=100, ema_half_life=4000)
    optimizers = {"vae": gen_jax.Adam(1e-2, decay="cosine")}
    run = gen_jax.fit(configuration, images, training=training, optimizers=optimizers, quiet=True)
    density = run.log_prob(0, images).mean() - 16 * np.log(distributions.LEVEL)
    exact = PCA(3).fit(x).score(x)
    assert exact - 0.15 < density < exact + 0.02, (density, exact)


@pytest.mark.parametrize("seed", range(3))
def test_closed_form_kl_equals_monte_carlo(seed):
    mean, log_variance = jax.random.normal(jax.random.key(seed), (2, 5))
    z = distributions.normal_sample(KEY, jnp.broadcast_to(mean, (200_000, 5)), log_variance)
    zero = jnp.zeros(())
    sampled = distributions.normal_log_prob(z, mean, log_variance) - distributions.normal_log_prob(z, zero, zero)
    np.testing.assert_allclose(
        sampled.mean(axis=0), distributions.standard_normal_kl(mean, log_variance), rtol=0.02, atol=5e-3
    )
    gradient = jax.grad(lambda m, l: distributions.standard_normal_kl(m, l).sum(), (0, 1))(mean, log_variance)
    chex.assert_trees_all_close(gradient, (mean, 0.5 * (jnp.exp(log_variance) - 1)), rtol=1e-5, atol=1e-6)


def test_densities_equal_scipy():
    x, m, s = np.linspace(-3, 3, 7), 0.4, 0.7
    np.testing.assert_allclose(
        distributions.normal_log_prob(x, m, 2 * np.log(s)), stats.norm(m, s).logpdf(x), rtol=1e-5
    )
    logit = np.linspace(-5, 5, 7)
    for value in (0, 1):
        expected = stats.bernoulli(1 / (1 + np.exp(-logit))).logpmf(value)
        np.testing.assert_allclose(distributions.bernoulli_log_prob(value, logit), expected, rtol=1e-5)


@pytest.mark.parametrize(("mean", "log_scale"), [(0, -2), (0.9, -3), (1, -4), (0.99, -5), (-1, -7), (0.3, 0.0)])
def test_discretised_logistic_sums_to_one_over_the_grey_levels(mean, log_scale):
    levels = jnp.arange(256) / 127.5 - 1
    mass = jnp.exp(distributions.discretised_logistic_log_prob(levels, jnp.asarray(mean), jnp.asarray(log_scale)))
    np.testing.assert_allclose(mass.sum(), 1, atol=2e-5)
    inner = stats.logistic(mean, np.exp(log_scale))
    expected = inner.cdf(levels[1:-1] + distributions.LEVEL / 2) - inner.cdf(levels[1:-1] - distributions.LEVEL / 2)
    np.testing.assert_allclose(mass[1:-1], expected, rtol=2e-3, atol=1e-6)


def test_discretised_logistic_is_finite_with_finite_gradients_far_out():
    log_prob = lambda m: distributions.discretised_logistic_log_prob(jnp.asarray([-1.0, 0.0, 1.0]), m, -7.0).sum()  # noqa: E731
    for mean in (-100.0, 0.0, 100.0):
        assert np.isfinite(log_prob(mean)) and np.isfinite(jax.grad(log_prob)(mean))


@pytest.mark.parametrize("log_scale", [-4.9, -4.0, 2.0, 2.1, 5.0, 30.0, 120.0])
def test_a_discretised_logistic_of_any_scale_has_its_density_s_mass_and_a_gradient(log_scale):
    """Far wider than a level, the mass at the mean is LEVEL / (4 s), and falls by one nat with every nat of log s."""
    log_prob = lambda s: distributions.discretised_logistic_log_prob(jnp.asarray(0.0), jnp.asarray(0.0), s)  # noqa: E731
    value, slope = jax.jit(jax.value_and_grad(log_prob))(log_scale)
    half = distributions.LEVEL / 2 * np.exp(-log_scale)
    expected = np.log(np.tanh(half / 2)) if half > 1e-8 else np.log(distributions.LEVEL / 4) - log_scale
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, -half / np.sinh(half), rtol=1e-4)


def test_dequantised_uniform_noise_is_eight_bits():
    """A density that is uniform over the grey levels' width gives 8 bits a pixel, by (5)."""
    log_density = -jnp.log(256 * distributions.LEVEL)
    log_mass = 64 * (log_density + jnp.log(distributions.LEVEL))
    np.testing.assert_allclose(distributions.bits_per_dim(log_mass, (8, 8, 1)), 8.0, rtol=1e-6)


def test_loss_is_the_bound_and_beta_weighs_the_kl():
    batch = {"image": jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1)}
    losses = {}
    for beta in (0.0, 1.0, 4.0):
        game = vae.VAEConfig(latent=2, widths=(4,), dense=(8,), beta=beta).build(images((8, 8, 1)))
        params, buffers = game.init(KEY, batch)
        loss, aux = game.loss(params, buffers, batch, KEY, step=jnp.asarray(0), ema={})
        losses[beta] = float(loss)
        expected = -aux.metrics["log_likelihood"] + beta * aux.metrics["kl"]
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(losses[4.0] - losses[0.0], 4 * (losses[1.0] - losses[0.0]), rtol=1e-4)


def test_optimal_variance_has_the_same_gradient_whether_differentiated_or_not():
    x, raw = jax.random.normal(KEY, (2, 4, 8, 8, 1))
    law = likelihoods.GAUSSIAN
    stopped = jax.grad(
        lambda r: likelihoods.GAUSSIAN.log_prob(
            x, r, jax.lax.stop_gradient(likelihoods.GAUSSIAN.log_variance(x, r))
        ).sum()
    )(raw)
    through = jax.grad(lambda r: law.log_prob(x, r, law.log_variance(x, r)).sum())(raw)
    np.testing.assert_allclose(stopped, through, rtol=1e-3, atol=1e-4)


def test_equal_weights_give_the_same_bound_for_any_number():
    for k in (1, 3, 10):
        np.testing.assert_allclose(importance_weighted_bound(jnp.full((k, 2), -3.0)), -3.0, rtol=1e-6)


def test_labels_change_a_conditional_model():
    game = vae.VAEConfig(latent=2, widths=(4,), dense=(8,), conditional=True).build(images((8, 8, 1), 3))
    params, buffers = game.init(KEY, {})
    zeros, ones = (game.sample(params, buffers, KEY, 4, label=jnp.full(4, label)) for label in (0, 1))
    assert float(jnp.abs(zeros - ones).max()) > 1e-4
