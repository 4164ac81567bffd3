"""What VAEs may have beside the bound: labels and their prior, a capacity, a variance of their own, several layers."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gen_jax import distributions
from gen_jax.fields import REAL, SYMBOL, Field, images
from gen_jax.models import AutoencoderConfig, iwae, latent, likelihoods, two_stage, vae
from gen_jax.networks.vae import DenseDecoder, DenseEncoder
from gen_jax.nn.functional import network, parameter_count
from tests.tiers import mostly_slow

KEY = jax.random.key(0)
POINTS = {"point": Field((4,), REAL), "label": Field((), SYMBOL, 3)}
NOW = {"step": jnp.asarray(0), "ema": {}}


def begun(game):
    """Parameters and buffers, by one program."""
    return jax.jit(lambda key: game.init(key, {}))(KEY)


def count(configuration, fields):
    return parameter_count(lambda key: configuration.build(fields).init(key, {}))


def test_networks_have_their_published_sizes():
    digits = images((28, 28, 1))
    assert count(iwae.ONE_LAYER, digits) == 425_284
    assert count(iwae.REFERENCE, digits) == 521_084
    assert count(two_stage.REFERENCE, {"latent": Field((64,), REAL)}) == 4_540_609


# ---- likelihoods


@pytest.mark.parametrize("name", ["logistic", "mixture"])
@pytest.mark.parametrize("seed", mostly_slow(range(3), 0))
def test_masses_of_the_grey_levels_sum_to_one(name, seed):
    law = likelihoods.LIKELIHOODS[name]
    raw = 3 * jax.random.normal(jax.random.key(seed), (1, 1, 1, law.outputs))
    levels = (jnp.arange(256) / 127.5 - 1).reshape(256, 1, 1, 1)
    log_mass = jax.jit(law.log_prob)(levels, jnp.broadcast_to(raw, (256, 1, 1, law.outputs)), jnp.zeros(()))
    np.testing.assert_allclose(jnp.exp(log_mass).sum(), 1, atol=2e-5)


def test_a_mixture_is_the_sum_of_its_logistics():
    raw = np.random.default_rng(0).normal(size=(1, 2, 1, 2 * likelihoods.MIXTURE.outputs)).astype(np.float32)
    x = np.array([-0.2, 0.6, 1.0, -1.0], np.float32).reshape(1, 2, 1, 2)
    parts = raw.reshape(1, 2, 1, 2, 3, likelihoods.COMPONENTS).astype(np.float64)
    means = parts[..., 1, :] + np.linspace(-1, 1, likelihoods.COMPONENTS)
    law = stats.logistic(means, np.exp(np.maximum(parts[..., 2, :] - 2, -7)))
    upper, lower = np.where(x == 1, np.inf, x + 1 / 255)[..., None], np.where(x == -1, -np.inf, x - 1 / 255)[..., None]
    expected = np.log((special.softmax(parts[..., 0, :], axis=-1) * (law.cdf(upper) - law.cdf(lower))).sum(-1)).sum()
    np.testing.assert_allclose(likelihoods.MIXTURE.log_prob(x, raw, 0.0), [expected], rtol=1e-4)


@pytest.mark.parametrize("name", mostly_slow(likelihoods.LIKELIHOODS, "mixture"))
def test_draws_have_the_mean_of_the_likelihood(name):
    law = likelihoods.LIKELIHOODS[name]
    raw = 0.3 * jax.random.normal(KEY, (1, 2, 2, law.outputs))
    if law.outputs > 1:  # narrow: draws are cut at black and white, and means are not those of what was cut
        share = law.outputs // 3 if name == "mixture" else 1
        raw = raw.at[..., -share:].set(-5.0)
    many = jax.jit(law.draw)(KEY, jnp.broadcast_to(raw, (40_000, 2, 2, law.outputs)), jnp.log(0.01))
    assert float(jnp.abs(many).max()) <= 1
    np.testing.assert_allclose(many.mean(axis=0), law.mean(raw)[0], atol=0.03)


# ---- one variance for all


def test_a_free_variance_at_the_best_one_is_the_optimal_one():
    x = {"image": jax.random.uniform(KEY, (8, 4, 4, 1), minval=-1)}
    configuration = vae.DenseVAEConfig(latent=2, hidden=(8,), likelihood="gaussian")
    optimal = configuration.build(images((4, 4, 1)))
    free = dataclasses.replace(configuration, variance="free").build(images((4, 4, 1)))
    params, buffers = begun(optimal)

    def of(game, params, buffers):
        both = jax.value_and_grad(lambda params: game.loss(params, buffers, x, KEY, **NOW), has_aux=True)
        return jax.jit(both)(params)

    (best, aux), gradient = of(optimal, params, buffers)
    kl, mass = aux.metrics["kl"], 16
    squares = np.exp(2 * ((float(best) - float(kl)) / mass - 0.5)) / (2 * np.pi)  # of the loss, by (5) in closed form
    own = {"vae": {**params["vae"], "log_variance": jnp.log(squares)}}
    carried = {"vae": {name: value for name, value in buffers["vae"].items() if name != "log_variance"}}
    (loss, _), other = of(free, own, carried)
    np.testing.assert_allclose(loss, best, rtol=1e-5)
    np.testing.assert_allclose(other["vae"].pop("log_variance"), 0, atol=1e-2 * mass)
    chex.assert_trees_all_close(other, gradient, rtol=1e-3, atol=1e-4)


# ---- capacity


@pytest.mark.parametrize("step", mostly_slow([0, 5, 10, 1000], 5))
def test_the_divergence_is_held_to_a_capacity_that_rises_in_a_line(step):
    batch = {"image": jax.random.uniform(KEY, (4, 4, 4, 1), minval=-1)}
    plain = vae.DenseVAEConfig(latent=2, hidden=(8,), beta=7.0)
    held = dataclasses.replace(plain, capacity=20.0, capacity_steps=10).build(images((4, 4, 1)))
    params, buffers = begun(held)
    loss, aux = jax.jit(lambda step: held.loss(params, buffers, batch, KEY, step=step, ema={}))(step)
    off = abs(aux.metrics["kl"] - 20 * min(step / 10, 1))
    np.testing.assert_allclose(loss, -aux.metrics["log_likelihood"] + 7 * off, rtol=1e-5)
    if step == 0:
        free = plain.build(images((4, 4, 1)))
        plain_loss = jax.jit(lambda: free.loss(params, buffers, batch, KEY, **NOW)[0])()
        np.testing.assert_allclose(loss, plain_loss, rtol=1e-6)


@pytest.mark.slow
def test_an_image_like_none_before_has_a_finite_bound():
    """Where a network extrapolates to a variance beyond floats."""
    game = vae.DenseVAEConfig(2, (), "logistic", importance_samples=2).build(images((4, 4, 1)))
    params, buffers = begun(game)
    params["vae"]["encoder"]["body"]["layers"]["0"]["bias"] = jnp.full(4, 300.0)
    batch = {"image": jnp.zeros((1, 4, 4, 1))}
    assert np.isfinite(jax.jit(game.log_prob)(params, buffers, KEY, batch)).all()
    loss, slope = jax.jit(jax.value_and_grad(lambda p: game.loss(p, buffers, batch, KEY, **NOW)[0]))(params)
    assert np.isfinite(loss) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


# ---- labels


def test_with_no_weight_on_the_label_a_conditional_model_is_the_plain_one():
    batch = {"image": jax.random.uniform(KEY, (6, 4, 4, 1), minval=-1), "label": jnp.arange(6) % 3}
    told = vae.DenseVAEConfig(2, (8,), conditional=True, prior="by class").build(images((4, 4, 1), 3))
    plain = vae.DenseVAEConfig(2, (8,)).build(images((4, 4, 1), 3))
    params, buffers = begun(told)
    for side in ("encoder", "decoder"):
        kernel = params["vae"][side]["body"]["layers"]["0"]["kernel"]
        params["vae"][side]["body"]["layers"]["0"]["kernel"] = kernel.at[-3:].set(0.0)
    without = {"vae": {name: params["vae"][name] for name in ("encoder", "decoder")}}
    for side in ("encoder", "decoder"):
        first = without["vae"][side]["body"]["layers"]["0"]
        layers = {**without["vae"][side]["body"]["layers"], "0": {**first, "kernel": first["kernel"][:-3]}}
        without["vae"][side] = {"body": {"layers": layers}}
    own = begun(plain)[1]
    loss, gradient = jax.jit(jax.value_and_grad(lambda p: told.loss(p, buffers, batch, KEY, **NOW)[0]))(params)
    other, expected = jax.jit(jax.value_and_grad(lambda p: plain.loss(p, own, batch, KEY, **NOW)[0]))(without)
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    for side in ("encoder", "decoder"):
        layers, others = (g["vae"][side]["body"]["layers"] for g in (gradient, expected))
        np.testing.assert_allclose(layers["0"]["kernel"][:-3], others["0"]["kernel"], rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(layers["1"], others["1"], rtol=1e-4, atol=1e-5)


def test_a_linear_conditional_vae_with_a_prior_by_class_is_a_mixture_of_gaussians():
    """x = W z + b, z ~ N(n_y, diag t_y^2): with the exact posterior the bound is log p(x | y), and log p(x) theirs."""
    rng, noise = np.random.default_rng(0), 0.3
    w = np.linalg.qr(rng.normal(size=(4, 2)))[0] @ np.diag([1.5, 0.7])  # of orthogonal columns: a diagonal posterior
    b, n = rng.normal(size=4), rng.normal(size=(3, 2))
    t = np.tile([0.6, 1.3], (3, 1))  # of all classes alike: the encoder is linear in the label
    game = vae.DenseVAEConfig(2, (), "gaussian", conditional=True, prior="by class", variance="free").build(POINTS)
    params, buffers = begun(game)
    own = params["vae"]
    precision = (w**2).sum(axis=0) / noise**2 + 1 / t[0] ** 2
    to_z = (w / noise**2 / precision).T  # [2, 4]
    offset = n / t**2 / precision - to_z @ b
    encoder, decoder = (own[side]["body"]["layers"]["0"] for side in ("encoder", "decoder"))
    encoder["kernel"] = jnp.asarray(np.block([[to_z.T, np.zeros((4, 2))], [offset, np.zeros((3, 2))]]), jnp.float32)
    encoder["bias"] = jnp.asarray(np.concatenate([np.zeros(2), -np.log(precision)]), jnp.float32)
    decoder["kernel"] = jnp.asarray(np.concatenate([w.T, np.zeros((3, 4))]), jnp.float32)
    decoder["bias"] = jnp.asarray(b, jnp.float32)
    own["prior"]["layers"]["0"]["kernel"] = jnp.asarray(np.concatenate([n, 2 * np.log(t)], axis=1), jnp.float32)
    own["log_variance"] = jnp.asarray(2 * np.log(noise), jnp.float32)
    covariance = w @ np.diag(t[0] ** 2) @ w.T + noise**2 * np.eye(4)
    laws = [stats.multivariate_normal(w @ mean + b, covariance) for mean in n]
    x = rng.normal(size=(7, 4)) + b
    log_prob, batch = jax.jit(game.log_prob), {"point": jnp.asarray(x, jnp.float32)}
    found = np.stack([log_prob(params, buffers, KEY, {**batch, "label": jnp.full(7, y)}) for y in range(3)])
    expected = np.stack([law.logpdf(x) for law in laws])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    marginal, shares = special.logsumexp(found.T + np.log([0.2, 0.3, 0.5]), axis=1), [0.2, 0.3, 0.5]
    density = sum(share * np.exp(law) for share, law in zip(shares, expected))
    np.testing.assert_allclose(marginal, np.log(density), rtol=1e-4, atol=1e-3)
    told = jnp.repeat(jnp.arange(3), 4000)
    sample = jax.jit(dataclasses.replace(game, draws=True).sample, static_argnums=3)
    drawn = sample(params, buffers, KEY, len(told), label=told)
    for y, law in enumerate(laws):
        own_draws = np.asarray(drawn[told == y])
        np.testing.assert_allclose(own_draws.mean(axis=0), law.mean, atol=0.1)
        np.testing.assert_allclose(np.cov(own_draws.T), law.cov, atol=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "by class"}, "conditional=True"),
        ({"variance": "free", "likelihood": "logistic"}, "of likelihood='gaussian', got 'logistic'"),
        ({"capacity": -1.0}, "capacity: expected 0 or more"),
    ],
)
@pytest.mark.parametrize("kind", [vae.VAEConfig, vae.DenseVAEConfig])
def test_settings_that_make_no_sense(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


# ---- several layers, several draws


@pytest.fixture(scope="module")
def layered():
    """x = W1 z1 + e, z1 = D z2 + d, all normal: with the exact posterior every weight is p(x)."""
    rng, noise = np.random.default_rng(0), 0.4
    w = np.linalg.qr(rng.normal(size=(4, 2)))[0] @ np.diag([1.3, 0.8])
    scale, spread = np.array([0.9, 0.6]), np.array([0.5, 0.7])
    net = iwae.IWAEConfig(latents=(2, 2), hidden=(1, 1), likelihood="gaussian", training_samples=4)
    game = net.build({"point": POINTS["point"]})
    encoders = tuple(network(DenseEncoder, shape=(size,), outputs=4, hidden=()) for size in (4, 2))
    decoders = tuple(network(DenseDecoder, shape=(size,), outputs=4, latent=2, hidden=()) for size in (4, 2))
    game = dataclasses.replace(game, encoders=encoders, decoders=decoders)
    params, buffers = begun(game)
    own = params["iwae"]
    own["log_variance"] = jnp.asarray(2 * np.log(noise), jnp.float32)
    variance = scale**2 + spread**2  # of z1
    first = (w**2).sum(axis=0) / noise**2 + 1 / variance
    second = scale**2 / spread**2 + 1

    def fill(side, layer, mean, log_variance=()):
        kernel = np.hstack([mean, np.zeros((len(mean), len(log_variance)))])
        bias = np.concatenate([np.zeros(mean.shape[1]), log_variance])
        both = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
        own[side][layer]["body"]["layers"]["0"] = both

    fill("encoders", "0", w / noise**2 / first, -np.log(first))
    fill("encoders", "1", np.diag(scale / spread**2 / second), -np.log(second))
    fill("decoders", "0", w.T)
    fill("decoders", "1", np.diag(scale), 2 * np.log(spread))
    exact = stats.multivariate_normal(np.zeros(4), w @ np.diag(variance) @ w.T + noise**2 * np.eye(4))
    return game, params, buffers, exact


@pytest.mark.parametrize("samples", mostly_slow([1, 6], 6))
def test_layers_of_normals_have_their_exact_likelihood(layered, samples):
    game, params, buffers, exact = layered
    x = np.random.default_rng(1).normal(size=(9, 4))
    batch = {"point": jnp.asarray(x, jnp.float32)}
    own = dataclasses.replace(game, importance_samples=samples, training_samples=samples)
    bound = jax.jit(own.log_prob)(params, buffers, KEY, batch)
    np.testing.assert_allclose(bound, exact.logpdf(x), rtol=1e-4, atol=1e-3)
    loss = jax.jit(lambda: own.loss(params, buffers, batch, KEY, **NOW)[0])()
    np.testing.assert_allclose(-loss, exact.logpdf(x).mean(), rtol=1e-4)
    drawn = jax.jit(own.sample, static_argnums=3)(params, buffers, KEY, 20_000)
    np.testing.assert_allclose(np.cov(np.asarray(drawn).T), exact.cov - 0.16 * np.eye(4), atol=0.06)


@pytest.mark.slow
def test_the_bound_that_is_trained_rises_with_its_draws(layered):
    game, params, buffers, exact = layered
    worse = jax.tree.map(jnp.copy, params)
    worse["iwae"]["encoders"]["0"]["body"]["layers"]["0"]["bias"] += jnp.asarray([0.2, -0.2, 0.8, 0.8])
    x = np.repeat(np.random.default_rng(1).normal(size=(8, 4)), 100, axis=0)
    bounds = []
    for samples in (1, 3, 10, 50):
        own = dataclasses.replace(game, training_samples=samples)
        loss = jax.jit(lambda: own.loss(worse, buffers, {"point": jnp.asarray(x, jnp.float32)}, KEY, **NOW)[0])  # noqa: B023
        bounds.append(-float(loss()))
    assert np.all(np.diff(bounds) > 0) and bounds[-1] < exact.logpdf(x).mean() + 0.02
    np.testing.assert_allclose(bounds[-1], exact.logpdf(x).mean(), atol=0.1)


@pytest.mark.slow
def test_its_gradient_is_that_of_every_draw_by_its_share_of_the_weights(layered):
    game, params, buffers, _ = layered
    x = jnp.asarray([[0.3, -0.2, 0.8, 0.1]])
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
    keys = jax.random.split(jax.random.split(KEY)[1], game.training_samples)
    weight = jax.jit(lambda p, key: game._log_weight(p, buffers, key, x, x)[0])
    log_weights = np.array([weight(moved, key) for key in keys])
    shares = special.softmax(log_weights)
    slope = jax.jit(jax.grad(weight))
    each = [slope(moved, key) for key in keys]
    expected = jax.tree.map(lambda *leaves: -sum(share * leaf for share, leaf in zip(shares, leaves)), *each)
    found = jax.jit(jax.grad(lambda p: game.loss(p, buffers, {"point": x}, KEY, **NOW)[0]))(moved)
    chex.assert_trees_all_close(found, expected, rtol=1e-3, atol=1e-4)


def test_layers_and_widths_are_as_many():
    with pytest.raises(ValueError, match=r"a width for each of latents \(3, 2\), got \(5,\)"):
        iwae.IWAEConfig(latents=(3, 2), hidden=(5,))


# ---- two stages


@pytest.mark.slow
def test_a_second_stage_of_a_standard_normal_is_one():
    """z ~ N(0, I): at g = 0, s = 1 and q = p the bound is the exact entropy, and draws are those of N(0, I)."""
    game = two_stage.SecondStageConfig(latent=3, hidden=(8,), variance="free").build({"latent": Field((3,), REAL)})
    params, buffers = jax.tree.map(jnp.zeros_like, begun(game))
    z = np.random.default_rng(0).normal(size=(500, 3))
    bound = jax.jit(game.log_prob)(params, buffers, KEY, {"latent": jnp.asarray(z, jnp.float32)})
    np.testing.assert_allclose(bound, stats.norm.logpdf(z).sum(axis=1), rtol=1e-4)
    drawn = jax.jit(game.sample, static_argnums=3)(params, buffers, KEY, 4000)
    assert stats.kstest(np.asarray(drawn).ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("seed", mostly_slow(range(3), 0))
def test_divergence_of_normals_equals_monte_carlo(seed):
    mean, log_variance, other, other_log_variance = jax.random.normal(jax.random.key(seed), (4, 5))
    z = distributions.normal_sample(KEY, jnp.broadcast_to(mean, (200_000, 5)), log_variance)
    sampled = distributions.normal_log_prob(z, mean, log_variance) - distributions.normal_log_prob(
        z, other, other_log_variance
    )
    found = distributions.normal_kl(mean, log_variance, other, other_log_variance)
    np.testing.assert_allclose(sampled.mean(axis=0), found, rtol=0.03, atol=0.02)


@pytest.mark.slow
def test_a_prior_learns_draws_from_the_posterior_anew_in_every_step():
    codec = vae.VAEConfig(latent=2, widths=(), dense=(4,), likelihood="gaussian")
    configuration = latent.LatentConfig(codec, two_stage.SecondStageConfig(2, (4,)), latents="draws")
    game = configuration.build(images((4, 4, 1)))
    params, buffers = jax.jit(lambda key: game.init(key, {"image": jnp.zeros((1, 4, 4, 1))}))(KEY)
    batch = {"image": jax.random.uniform(KEY, (5, 4, 4, 1), minval=-1)}
    loss = jax.jit(lambda key: game.turns[0].loss(params, buffers, batch, key, **NOW)[0])

    @jax.jit
    def by_hand(key):
        draw, own = jax.random.split(key)
        mean, log_variance = game.codec.encode({"vae": params["codec"]}, {"vae": buffers["codec"]}, batch["image"])
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(draw, mean.shape)
        return game.prior.loss(params, buffers, {"latent": z}, own, **NOW)[0]

    for seed in range(2):
        np.testing.assert_allclose(loss(jax.random.key(seed)), by_hand(jax.random.key(seed)), rtol=1e-6)
    with pytest.raises(ValueError, match="'draws' are of a codec with a posterior, got AutoencoderConfig"):
        dataclasses.replace(configuration, codec=AutoencoderConfig()).build(images((4, 4, 1)))


def test_without_convolutions_a_vae_is_one_of_perceptrons():
    fields = images((5, 4, 3), 2)
    options = {"likelihood": "logistic", "conditional": True}
    plain = vae.VAEConfig(latent=3, widths=(), dense=(8, 6), **options)
    assert count(plain, fields) == count(vae.DenseVAEConfig(3, (8, 6), **options), fields) - (
        # the decoder's layers are the mirror image, and the other's are in the same order
        (5 * 8 + 8 * 6 + 6 * 120 + 8 + 6) - (5 * 6 + 6 * 8 + 8 * 120 + 6 + 8)
    )
