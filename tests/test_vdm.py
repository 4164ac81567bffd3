"""The bound of variational diffusion where its value is known, and what its schedule may and may not change."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

from gen_jax import distributions
from gen_jax.diffusion.interior import LINE, monotone
from gen_jax.fields import images
from gen_jax.models.vdm import VDMConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network

TINY = VDMConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1), sampling_steps=100, bound_draws=4)
SHAPE = (4, 4, 1)
# Four points carry the second moments of standard normal (x, eps) exactly, and the loss is a square.
X, NOISE = (jnp.array(v).reshape(4, 1, 1, 1) for v in ([1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]))


def with_denoiser(configuration, denoise, shape=SHAPE):
    """A model whose f follows from E[x | z], ``denoise(z, alpha, sigma)``."""

    def apply(params, buffers, z, told, label=None, **_):
        gamma = configuration.first + (configuration.last - configuration.first) * told / 1000
        alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(sign * gamma)).reshape(-1, 1, 1, 1) for sign in (-1, 1))
        return (z - alpha * denoise(z, alpha, sigma)) / sigma, buffers

    model = configuration.build(images((8, 8, 1)))
    model = dataclasses.replace(model, shape=shape, network=Network(lambda key: ({}, {}), apply))
    return model, *model.init(jax.random.key(0), {})


def standard_normal(z, alpha, sigma):
    return alpha * z


def uniform_levels(z, alpha, sigma):
    levels = 2 * jnp.arange(256) / 255 - 1
    logits = -0.5 * (alpha / sigma)[..., None] ** 2 * ((z / alpha)[..., None] - levels) ** 2
    return jax.nn.softmax(logits) @ levels


def expected_diffusion(model, params, buffers, t):
    one = lambda t: model.diffusion_loss(params, buffers, X, NOISE, jnp.full(4, t))[0].mean()  # noqa: E731
    return jnp.mean(jax.jit(lambda t: jax.lax.map(one, t, batch_size=1000))(jnp.asarray(t)))


def test_the_continuous_loss_of_standard_normal_data():
    model, params, buffers = with_denoiser(TINY, standard_normal, (1, 1, 1))
    got = expected_diffusion(model, params, buffers, (np.arange(20_000) + 0.5) / 20_000)
    np.testing.assert_allclose(got, 6.646643163, rtol=1e-4)
    np.testing.assert_allclose(got, 0.5 * np.log((1 + np.exp(13.3)) / (1 + np.exp(-5))), rtol=1e-4)


@pytest.mark.parametrize(("timesteps", "expected"), [(10, 17.707852), (100, 7.243793), (1000, 6.703246)])
def test_the_loss_in_finitely_many_steps(timesteps, expected):
    model, params, buffers = with_denoiser(dataclasses.replace(TINY, timesteps=timesteps), standard_normal, (1, 1, 1))
    got = expected_diffusion(model, params, buffers, (np.arange(timesteps) + 0.5) / timesteps)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def with_interior(model, params, width=32):
    """The same model with a schedule far from the line."""
    interior = monotone(width)
    own = interior.init(jax.random.key(1))
    own = {**own, "height": jnp.linspace(-2.0, 2.0, width), "place": own["place"] ** 2}
    return dataclasses.replace(model, interior=interior), {**params, "schedule": own}


def test_the_continuous_loss_sees_only_the_ends_of_the_schedule():
    model, params, buffers = with_denoiser(TINY, standard_normal, (1, 1, 1))
    t = (np.arange(20_000) + 0.5) / 20_000
    line = expected_diffusion(model, params, buffers, t)
    bent, bent_params = with_interior(model, params)
    assert np.abs(bent.gamma(bent_params, jnp.array(0.5)) - model.gamma(params, jnp.array(0.5))) > 1
    np.testing.assert_allclose(expected_diffusion(bent, bent_params, buffers, t), line, rtol=1e-4)
    shorter = {**bent_params, "denoiser": {**params["denoiser"], "ends": {"first": -13.3, "range": 10.0}}}
    assert abs(expected_diffusion(bent, shorter, buffers, t) - line) > 0.01


@pytest.mark.parametrize(
    "interior", [pytest.param(LINE, marks=pytest.mark.slow), monotone(64)], ids=["line", "monotone"]
)
def test_gamma_rises_from_end_to_end(interior):
    model = dataclasses.replace(TINY.build(images((8, 8, 1))), interior=interior)
    params, _ = model.init(jax.random.key(0), {})
    gamma = np.asarray(jax.jit(model.gamma)(params, jnp.linspace(0, 1, 101)))
    np.testing.assert_allclose(gamma[[0, -1]], [-13.3, 5.0], rtol=1e-5)
    assert (np.diff(gamma) > 0).all()
    process = model.process(params)
    alpha, sigma = process.alpha(jnp.array(0.3)), process.sigma(jnp.array(0.3))
    np.testing.assert_allclose([alpha**2 + sigma**2, np.log(sigma**2 / alpha**2)], [1, gamma[30]], rtol=1e-4)


def levels(n, shape=SHAPE, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (n, *shape)) / 127.5 - 1, jnp.float32)


def test_prior_and_reconstruction_equal_their_definitions():
    configuration = dataclasses.replace(TINY, first=-8.0)  # where levels are mistaken for their neighbours
    model, params, buffers = with_denoiser(configuration, standard_normal)
    x = levels(2000)
    got = jax.jit(model.evidence)(params, buffers, jax.random.key(0), {"image": x})
    variance, mean = special.expit(5.0), np.sqrt(special.expit(-5.0)) * np.asarray(x)
    prior = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum((1, 2, 3))
    np.testing.assert_allclose(got.prior, prior, rtol=1e-3)
    # of the middle level: the entropy of its posterior, over z
    z = stats.norm.ppf((np.arange(4000) + 0.5) / 4000) * np.exp(-4.0)
    logits = -0.5 * np.exp(8.0) * (z[:, None] - 2 * np.arange(-128, 128) / 255) ** 2
    inner = (special.logsumexp(logits, axis=1) - logits[:, 128]).mean()
    middle = x[(jnp.abs(x).max((1, 2, 3)) < 2)]
    found = float(got.reconstruction.mean() / 16)
    assert abs(found - inner) < 0.03 and len(middle) == 2000


def test_uniform_grey_levels_take_eight_bits():
    """With their exact denoiser the bound is tight: I(x; z_0) + H(x | z_0), their entropy; z_1 knows little."""
    model, params, buffers = with_denoiser(dataclasses.replace(TINY, bound_draws=200, last=8.0), uniform_levels)
    x = levels(64, seed=1)
    got = jax.jit(model.log_prob)(params, buffers, jax.random.key(0), {"image": x})
    assert model.log_prob_kind == "lower bound"
    np.testing.assert_allclose(distributions.bits_per_dim(got, SHAPE).mean(), 8.0, atol=0.05)


@pytest.mark.slow
def test_the_loss_is_the_bound():
    model, params, buffers = with_denoiser(dataclasses.replace(TINY, bound_draws=100), uniform_levels)
    x = levels(64)
    one = lambda key: model.loss(params, buffers, {"image": x}, key, step=0, ema=None)  # noqa: E731
    loss, aux = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), 100))
    bound = -jax.jit(model.log_prob)(params, buffers, jax.random.key(1), {"image": x}).mean()
    np.testing.assert_allclose(loss.mean(), bound, rtol=0.02)
    parts = sum(aux.metrics[name] for name in ("prior", "reconstruction", "diffusion"))
    np.testing.assert_allclose(parts, loss, rtol=1e-5)


def test_samples_follow_the_law_of_the_data():
    model, params, buffers = with_denoiser(
        dataclasses.replace(TINY, sampling_steps=400),
        lambda z, alpha, sigma: (0.2 * sigma**2 + alpha * 0.09 * z) / (alpha**2 * 0.09 + sigma**2),
    )
    x = np.asarray(jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(0), 400))
    assert stats.kstest(x.ravel(), stats.norm(0.2, 0.3).cdf).statistic < 0.03


def test_a_learned_schedule_is_a_player_who_lessens_the_variance():
    configuration = dataclasses.replace(TINY, schedule="monotone", schedule_width=32)
    # Of signs, about which almost everything is learned within a part of the schedule.
    model, params, buffers = with_denoiser(configuration, lambda z, alpha, sigma: jnp.tanh(alpha * z / sigma**2))
    assert [(turn.player, turn.loss.__name__) for turn in model.turns] == [
        ("denoiser", "loss"),
        ("schedule", "variance"),
    ]
    assert len(TINY.build(images((8, 8, 1))).turns) == 1
    batch = {"image": jnp.sign(levels(64))}
    optimizer = optax.adam(0.03)

    @jax.jit
    def train(own):
        def step(carry, i):
            own, opt = carry

            def objective(own):
                key = jax.random.fold_in(jax.random.key(2), i)
                return model.variance({**params, "schedule": own}, buffers, batch, key, step=i, ema=None)[0]

            value, gradient = jax.value_and_grad(objective)(own)
            updates, opt = optimizer.update(gradient, opt)
            return (optax.apply_updates(own, updates), opt), value

        return jax.lax.scan(step, (own, optimizer.init(own)), jnp.arange(200))

    _, values = train(params["schedule"])
    assert values[-20:].mean() < 0.75 * values[:20].mean()


@pytest.mark.parametrize(
    ("change", "message"), [({"first": 6.0}, "first: expected less than last"), ({"bound_draws": 0}, "bound_draws")]
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change).build(images((8, 8, 1)))
