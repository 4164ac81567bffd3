"""The VAE of another's residuals: beside the first alone, its bound in closed form, and how blur is measured."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.evaluate.sharpness import detail, high_frequency_energy
from gen_jax.fields import images
from gen_jax.models import likelihoods, residual_vae
from gen_jax.models.residual_vae import ResidualVAEConfig
from gen_jax.models.vae import DenseVAEConfig, VAEConfig
from gen_jax.models.vqvae import VQCodecConfig
from gen_jax.protocol import Network
from tests.tiers import mostly_slow

KEY = jax.random.key(0)
TINY = ResidualVAEConfig(DenseVAEConfig(2, (), "gaussian"), 2, (4,), (8,), features=4, importance_samples=3)
NOW = {"step": jnp.asarray(0), "ema": {}}


@pytest.fixture(scope="module", params=mostly_slow(["perceptrons", "convolutions"], "perceptrons"))
def begun(request):
    perceptrons = dataclasses.replace(TINY, widths=())
    game = (perceptrons if request.param == "perceptrons" else TINY).build(images((4, 4, 1)))
    return game, *jax.jit(lambda key: game.init(key, {}))(KEY)


def test_at_the_beginning_the_second_stage_adds_nothing(begun):
    game, params, buffers = begun
    x = {"image": jax.random.uniform(KEY, (6, 4, 4, 1), minval=-1)}

    def once(params, buffers):
        z = jax.random.normal(KEY, (5, 4))[:, :2]
        coarse = game.codec.decode({"vae": params["codec"]}, {"vae": buffers["codec"]}, z)
        figures = game.loss(params, buffers, x, KEY, **NOW)[1].metrics
        return coarse, game.sample(params, buffers, KEY, 5), figures["error"], figures["coarse_error"]

    coarse, refined, error, coarse_error = jax.jit(once)(params, buffers)
    np.testing.assert_array_equal(refined, coarse)
    np.testing.assert_array_equal(error, coarse_error)


@pytest.mark.slow
def test_only_the_second_stage_learns_and_the_first_s_noise_is_seen(begun):
    game, params, buffers = begun
    x = {"image": jax.random.uniform(KEY, (6, 4, 4, 1), minval=-1)}
    moved = {**params, "refiner": jax.tree.map(lambda leaf: leaf + 0.1, params["refiner"])}
    loss = jax.jit(lambda params, key: game.loss(params, buffers, x, key, **NOW)[0])
    gradient = jax.jit(jax.grad(lambda own: loss({**moved, "refiner": own}, KEY)))(moved["refiner"])
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    assert loss(moved, KEY) != loss(moved, jax.random.key(1))
    assert [turn.player for turn in game.turns] == ["refiner"] and game.begins == ("codec",)


@pytest.mark.parametrize("step", mostly_slow([0, 5, 10, 99], 5))
def test_the_weight_of_the_divergence_rises_in_a_line(begun, step):
    game, params, buffers = begun
    own = dataclasses.replace(game, beta=3.0, kl_warmup=10)
    x = {"image": jax.random.uniform(KEY, (6, 4, 4, 1), minval=-1)}
    loss, aux = jax.jit(lambda step: own.loss(params, buffers, x, KEY, step=step, ema={}))(step)
    expected = -aux.metrics["log_likelihood"] + 3 * min(step / 10, 1) * aux.metrics["kl"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_with_two_linear_stages_and_exact_posteriors_the_bound_is_the_likelihood(begun, monkeypatch):
    """c = V z, x = c + W u + e: by hand, x ~ N(0, V V' + W W' + s^2 I), where V and W are orthogonal."""
    game, params, buffers = begun
    monkeypatch.setattr(residual_vae, "GAUSSIAN", likelihoods.NUMBERS)  # which are not dequantised
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 4)))[0]
    v, w, noise = 0.3 * axes[:, :2], 0.2 * axes[:, 2:], 0.1

    def posterior(map_):  # of orthogonal columns, all of one length
        precision = (map_[:, 0] ** 2).sum() / noise**2 + 1
        return map_ / noise**2 / precision, -np.log(precision) * np.ones(2)

    encoder, log_variance = posterior(v)
    first = jax.tree.map(jnp.copy, params["codec"])
    first["encoder"]["body"]["layers"]["0"] = _layer(np.hstack([encoder, np.zeros((16, 2))]), [0, 0, *log_variance])
    first["decoder"]["body"]["layers"]["0"] = _layer(v.T, np.zeros(16))
    to_u, log_variance = posterior(w)

    def encode(params, buffers, seen, **options):
        flat = seen[..., 0].reshape(len(seen), -1)  # x - c, and c = V z has no part along W
        return jnp.hstack([flat @ to_u, jnp.broadcast_to(log_variance, (len(seen), 2))]), buffers

    def decode(params, buffers, u, c, **options):
        return (u @ w.T).reshape(c.shape), buffers

    exact = dataclasses.replace(game, encoder=Network(None, encode), decoder=Network(None, decode))
    own = {**buffers, "refiner": {**buffers["refiner"], "log_variance": jnp.log(noise**2)}}
    law = stats.multivariate_normal(np.zeros(16), v @ v.T + w @ w.T + noise**2 * np.eye(16))
    x = law.rvs(5, random_state=0)
    batch = {"image": jnp.asarray(x, jnp.float32).reshape(5, 4, 4, 1)}
    found = jax.jit(exact.log_prob)({**params, "codec": first}, own, KEY, batch)
    np.testing.assert_allclose(found, law.logpdf(x), rtol=1e-4, atol=2e-3)
    drawn = jax.jit(exact.sample, static_argnums=3)({**params, "codec": first}, own, KEY, 20_000)
    np.testing.assert_allclose(np.cov(drawn.reshape(-1, 16).T), law.cov - noise**2 * np.eye(16), atol=0.01)


def _layer(kernel, bias):
    return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}


@pytest.mark.parametrize(
    "codec", [VQCodecConfig(4, 4, 1, 8, 4), VAEConfig(latent=2, widths=(4,), dense=(8,), conditional=True)]
)
def test_the_first_stage_is_a_vae_without_labels(codec):
    with pytest.raises(ValueError, match="codec: expected a VAE of images without labels"):
        dataclasses.replace(TINY, codec=codec).build(images((8, 8, 1), 3))


# ---- blur


@pytest.mark.parametrize(("across", "down"), [(1, 0), (3, 0), (0, 5), (4, 4), (2, 3)])
def test_a_wave_has_its_energy_where_its_frequency_is(across, down):
    """a cos(2 pi f x) has a^2 / 2, in all channels the same, above every radius below |f|."""
    y, x = np.mgrid[:16, :16]
    wave = 7 * np.cos(2 * np.pi * (across * x + down * y) / 16)[None, :, :, None] + 100
    frequency = np.hypot(across, down) / 16
    for radius in (0.01, 0.1, 0.2, 0.3, 0.4):
        expected = 7**2 / 2 if frequency > radius else 0.0
        found = high_frequency_energy(np.repeat(wave, 3, axis=-1), radius=radius)
        np.testing.assert_allclose(found, [expected], atol=1e-9)


def test_all_energy_but_the_mean_s_is_the_variance():
    x = np.random.default_rng(0).integers(0, 256, (5, 9, 12, 3), dtype=np.uint8)
    expected = x.astype(float).var(axis=(1, 2)).mean(axis=-1)
    np.testing.assert_allclose(high_frequency_energy(x, radius=1e-9), expected)


def test_detail_of_blur_and_noise():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(400, 8, 8, 1))
    kernel = np.exp(-0.5 * (np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8))) / 0.15) ** 2)
    blurred = np.fft.ifft2(np.fft.fft2(white[..., 0]) * kernel).real[..., None]
    assert detail(white, white) == 1.0
    np.testing.assert_allclose(detail(2 * white, white), 4.0)
    far = np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8))) > 0.25
    np.testing.assert_allclose(detail(blurred, white), (kernel[far] ** 2).mean(), rtol=0.1)


@pytest.mark.parametrize(
    ("images", "reference", "message"),
    [
        (np.zeros((2, 8, 8)), np.ones((2, 8, 8, 1)), r"expected images \[N, H, W, C\], got \[2, 8, 8\]"),
        (np.zeros((0, 8, 8, 1)), np.ones((2, 8, 8, 1)), "got 0 and 2"),
        (np.ones((2, 8, 8, 1)), np.ones((2, 8, 8, 1)), "no energy above"),
    ],
)
def test_what_has_no_detail(images, reference, message):
    with pytest.raises(ValueError, match=message):
        detail(images, reference)
