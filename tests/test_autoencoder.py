"""Autoencoders against principal components, Jacobians, scores and the laws of what corrupts them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize, stats

import gen_jax
from gen_jax.fields import PIXELS, REAL, Field, images
from gen_jax.models import autoencoder, inpainting, vqvae
from gen_jax.models.vae import DenseVAEConfig
from gen_jax.networks.autoencoders import Coder
from gen_jax.nn import corrupt
from gen_jax.nn.functional import parameter_count

KEY = jax.random.key(0)
POINTS = {"point": Field((4,), REAL)}
MASKS = (corrupt.block, corrupt.half)
LINEAR = Coder(latent=4, widths=(), dense=())


def test_the_reference_has_the_published_layout():
    """784-1000-500-250-30 and back, with biases."""
    game = autoencoder.REFERENCE.build(images((28, 28, 1)))
    widths = np.array([784, 1000, 500, 250, 30, 250, 500, 1000, 784])
    assert parameter_count(lambda key: game.init(key, {})) == (widths[:-1] * widths[1:] + widths[1:]).sum() == 2_837_314


def begun(game):
    """Parameters and buffers, by one program."""
    return jax.jit(lambda key: game.init(key, {}))(KEY)


# ---- linear ones, whose optimum is known


def exact_sample(covariance, n=64):
    """Numbers ``[n, D]`` whose empirical mean is 0 and whose covariance is this one, to rounding."""
    z = np.random.default_rng(0).normal(size=(n, len(covariance)))
    z -= z.mean(axis=0)
    return z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T @ np.linalg.cholesky(covariance).T


def least(game, x):
    """The parameters of least loss over ``x``, and it; in float64."""
    params, buffers = begun(game)
    start, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params))
    batch = {game.makes: jnp.asarray(x)}

    def loss(flat):
        return game.loss(unravel(flat), buffers, batch, KEY, step=jnp.zeros((), int), ema={})[0]

    both = jax.jit(jax.value_and_grad(loss))
    found = optimize.minimize(lambda flat: [np.asarray(y, np.float64) for y in both(flat)], start, jac=True)
    return unravel(jnp.asarray(found.x)), buffers, found.fun


COVARIANCE = np.array([[2.0, 0.5, 0.1, 0.0], [0.5, 1.0, 0.3, 0.1], [0.1, 0.3, 0.5, 0.05], [0.0, 0.1, 0.05, 0.2]])


@pytest.mark.parametrize("latent", [1, 3])
def test_a_linear_autoencoder_is_pca(latent):
    game = autoencoder.AutoencoderConfig(Coder(latent, (), ())).build(POINTS)
    values, vectors = np.linalg.eigh(COVARIANCE)
    with jax.enable_x64(True):
        params, buffers, loss = least(game, exact_sample(COVARIANCE) + 0.7)
        x = np.random.default_rng(1).normal(size=(5, 4))
        made = game.from_latents(params, buffers, game.to_latents(params, buffers, x))
    np.testing.assert_allclose(loss, values[:-latent].sum(), rtol=1e-5)
    kept = vectors[:, -latent:]
    np.testing.assert_allclose(np.asarray(made), 0.7 + (x - 0.7) @ kept @ kept.T, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_the_best_linear_denoiser_of_normal_data_is_their_score(sigma):
    """Tweedie: (r(x) - x) / sigma^2 is the gradient of log N(x; 0, S + sigma^2 I)."""
    both = exact_sample(np.block([[COVARIANCE, np.zeros((4, 4))], [np.zeros((4, 4)), sigma**2 * np.eye(4)]]))
    x, noise = both[:, :4], both[:, 4:]
    game = autoencoder.DenoisingAutoencoderConfig(LINEAR, amount=sigma).build(POINTS)
    game = dataclasses.replace(game, corrupt=lambda key, x: x + noise)
    smoothed = COVARIANCE + sigma**2 * np.eye(4)
    at = np.random.default_rng(1).normal(size=(5, 4))
    with jax.enable_x64(True):
        params, buffers, loss = least(game, x)
        made = game.from_latents(params, buffers, game.to_latents(params, buffers, jnp.asarray(at)))
    np.testing.assert_allclose(loss, np.trace(sigma**2 * COVARIANCE @ np.linalg.inv(smoothed)), rtol=1e-5)
    score = -np.linalg.solve(smoothed, at.T).T
    np.testing.assert_allclose((np.asarray(made) - at) / sigma**2, score, atol=1e-3)


def linear_denoiser(variance, sigma, walk_steps):
    """The exact one of N(1, variance I), with its error."""
    game = autoencoder.DenoisingAutoencoderConfig(LINEAR, amount=sigma, walk_steps=walk_steps).build(POINTS)
    params, buffers = begun(game)
    shrink = variance / (variance + sigma**2)
    encoder = params["autoencoder"]["encoder"]["body"]["layers"]["0"]
    decoder = params["autoencoder"]["decoder"]["body"]["layers"]["0"]
    encoder["kernel"], encoder["bias"] = jnp.eye(4), jnp.zeros(4)
    decoder["kernel"], decoder["bias"] = shrink * jnp.eye(4), jnp.full(4, 1 - shrink)
    buffers["autoencoder"]["error"] = jnp.asarray(shrink * sigma**2)
    return game, params, buffers, shrink


def test_the_chain_of_an_exact_denoiser_has_the_law_of_the_data():
    game, params, buffers, shrink = linear_denoiser(0.5, 0.8, 30)
    far = jnp.full((4000, 4), 9.0)
    x, mean = jax.jit(game.walk, static_argnums=4)(params, buffers, KEY, far, 30)
    assert stats.kstest(x.ravel(), stats.norm(1, np.sqrt(0.5)).cdf).pvalue > 1e-3
    # What is shown is a mean of the data given the corrupted x, and varies less by the error.
    assert stats.kstest(mean.ravel(), stats.norm(1, np.sqrt(0.5 * shrink)).cdf).pvalue > 1e-3
    samples = jax.jit(game.sample, static_argnums=3)(params, buffers, KEY, 4000)
    assert stats.kstest(samples.ravel(), stats.norm(1, np.sqrt(0.5 * shrink)).cdf).pvalue > 1e-3
    assert game.network_evaluations == 31


def test_without_a_chain_samples_are_a_gaussian_of_codes_decoded():
    game, params, buffers, _ = linear_denoiser(0.5, 0.8, 0)
    step = jnp.zeros((), int)
    x = jnp.asarray(exact_sample(COVARIANCE) + 0.7, jnp.float32)
    plain = dataclasses.replace(game, corrupt=autoencoder.uncorrupted)
    _, aux = jax.jit(plain.loss)(params, buffers, {"point": x}, KEY, step=step, ema={})
    carried = aux.buffers["autoencoder"]
    np.testing.assert_allclose(carried["mean"], 0.7, atol=1e-5)
    np.testing.assert_allclose(carried["covariance"], COVARIANCE, atol=1e-5)
    kernel = params["autoencoder"]["decoder"]["body"]["layers"]["0"]["kernel"]
    samples = np.asarray(jax.jit(plain.sample, static_argnums=3)(params, aux.buffers, KEY, 40_000))
    np.testing.assert_allclose(np.cov(samples.T), kernel.T @ COVARIANCE @ kernel, atol=0.02)


def test_moments_follow_the_codes_of_later_steps():
    game = autoencoder.AutoencoderConfig(LINEAR).build(POINTS)
    params, buffers = begun(game)
    x = jnp.asarray(exact_sample(COVARIANCE), jnp.float32)
    _, aux = jax.jit(game.loss)(params, buffers, {"point": x}, KEY, step=jnp.asarray(7), ema={})
    code = np.asarray(game.to_latents(params, buffers, x))
    carried, d = aux.buffers["autoencoder"], autoencoder.DECAY
    np.testing.assert_allclose(carried["mean"], (1 - d) * code.mean(axis=0), atol=1e-6)
    apart = code - np.asarray(carried["mean"])
    np.testing.assert_allclose(carried["covariance"], d * np.eye(4) + (1 - d) * apart.T @ apart / 64, atol=1e-5)


# ---- penalties


def one_layer():
    game = autoencoder.ContractiveAutoencoderConfig(Coder(3, (), ()), weight=2.0).build(POINTS)
    params, buffers = begun(game)
    x = jax.random.normal(jax.random.key(1), (6, 4))
    return game, params, buffers, x


def test_the_contractive_penalty_of_a_layer_of_sigmoids_is_its_closed_form():
    game, params, buffers, x = one_layer()
    w = np.asarray(params["autoencoder"]["encoder"]["body"]["layers"]["0"]["kernel"])
    h = np.asarray(game.to_latents(params, buffers, x))
    expected = ((h * (1 - h)) ** 2 @ (w**2).sum(axis=0)).mean()
    loss, aux = jax.jit(game.loss)(params, buffers, {"point": x}, KEY, step=jnp.zeros((), int), ema={})
    np.testing.assert_allclose(aux.metrics["penalty"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, aux.metrics["reconstruction"] + 2 * expected, rtol=1e-5)


def test_the_contractive_penalty_is_the_norm_of_the_jacobian():
    game = autoencoder.ContractiveAutoencoderConfig(Coder(3, (4,), (8,))).build(images((5, 4, 1)))
    x = jax.random.uniform(jax.random.key(1), (4, 5, 4, 1), minval=-1, maxval=1)

    @jax.jit
    def both(key):
        encode = functools.partial(game.to_latents, *game.init(key, {}))
        jacobians = jax.vmap(jax.jacfwd(lambda one: encode(one[None])[0]))(x)
        return autoencoder.contraction(encode, x, encode(x)), jnp.square(jacobians).sum() / 4

    found, expected = both(KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found > 0


def test_sparsity_is_the_divergence_of_coins():
    code = np.random.default_rng(0).uniform(size=(7, 3)).astype(np.float32)
    coins = jax.jit(lambda code: autoencoder.sparsity(None, None, code, active=0.1))
    found = coins(code)
    mean = code.mean(axis=0)
    expected = sum(stats.entropy([0.1, 0.9], [m, 1 - m]) for m in mean)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    at_rest = coins(jnp.full((7, 3), 0.1))
    np.testing.assert_allclose(at_rest, 0.0, atol=1e-6)
    silent = jax.jit(jax.grad(coins))(jnp.zeros((7, 3)))
    assert np.isfinite(silent).all()


# ---- what is taken away


def test_corruptions_have_their_laws():
    x = jnp.full((200, 40, 5), 0.25)
    noisy = np.asarray(corrupt.gaussian(KEY, x, sigma=0.3))
    assert stats.kstest(noisy.ravel(), stats.norm(0.25, 0.3).cdf).pvalue > 1e-3
    masked = np.asarray(corrupt.masking(KEY, x, share=0.3, low=-1.0))
    assert set(np.unique(masked)) == {-1.0, 0.25}
    assert stats.binomtest(int((masked == -1).sum()), x.size, 0.3).pvalue > 1e-3
    salted = np.asarray(corrupt.salt_and_pepper(KEY, x, share=0.4, limit=1.0))
    assert set(np.unique(salted)) == {-1.0, 0.25, 1.0}
    for end in (-1, 1):
        assert stats.binomtest(int((salted == end).sum()), x.size, 0.2).pvalue > 1e-3


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 4), (3, 1)])
def test_masks_cover_what_they_say(size):
    tall, wide = (-(-side // 2) for side in size)
    n = 300
    blocks, halves = (np.asarray(jax.jit(f, static_argnums=(1, 2, 3))(KEY, n, *size))[..., 0] for f in MASKS)
    for mask in blocks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert len(rows) == tall and len(columns) == wide
        assert mask.sum() == tall * wide == mask[rows[0] : rows[0] + tall, columns[0] : columns[0] + wide].sum()
    corners = {tuple(np.argwhere(mask)[0]) for mask in blocks}
    assert len(corners) == (size[0] - tall + 1) * (size[1] - wide + 1)  # every place is taken
    sides = [np.zeros(size) for _ in range(4)]
    sides[0][:tall], sides[1][size[0] - tall :], sides[2][:, :wide], sides[3][:, size[1] - wide :] = 1, 1, 1, 1
    found = {mask.tobytes() for mask in halves.astype(np.float64)}
    assert found == {side.tobytes() for side in sides}


def test_a_corruption_of_pixels_refuses_real_numbers_and_shares_above_one():
    with pytest.raises(ValueError, match=r"expected gaussian or masking for real numbers, got 'salt and pepper'"):
        autoencoder.DenoisingAutoencoderConfig(LINEAR, corruption="salt and pepper").build(POINTS)
    with pytest.raises(ValueError, match=r"amount: expected a share of at most 1 for masking, got 1\.5"):
        autoencoder.DenoisingAutoencoderConfig(corruption="masking", amount=1.5)
    with pytest.raises(ValueError, match=r"convolutions are of images \[H, W, C\], got data \[4\]"):
        autoencoder.AutoencoderConfig().build(POINTS)


# ---- in-painting


@pytest.mark.parametrize("mask", ["block", "half"])
def test_in_painting_never_sees_what_is_hidden_and_keeps_what_is_not(mask):
    game = inpainting.InPaintingConfig(Coder(4, (4,), (8,)), mask).build(images((6, 5, 2)))
    params, buffers = begun(game)
    x = jax.random.uniform(jax.random.key(1), (4, 6, 5, 2), minval=-1, maxval=1)
    masks = jax.jit(game.mask, static_argnums=(1, 2, 3))
    hidden = masks(jax.random.key(2), 4, 6, 5)
    predict = jax.jit(functools.partial(game.predict, params, buffers))
    told = jax.jit(jax.grad(lambda x: (predict(x, hidden) ** 2).sum()))(x)
    assert not np.any(np.asarray(told * hidden)) and np.any(np.asarray(told * (1 - hidden)))
    filled = np.asarray(jax.jit(game.fill)(params, buffers, x, hidden))
    kept = np.broadcast_to(np.asarray(hidden) == 0, x.shape)
    np.testing.assert_array_equal(filled[kept], np.asarray(x)[kept])
    assert np.all(filled[~kept] != np.asarray(x)[~kept])
    # The loss is about the hidden pixels alone: (2), with the mask that its key draws.
    loss, aux = jax.jit(game.loss)(params, buffers, {"image": x}, KEY, step=jnp.zeros((), int), ema={})
    drawn = np.asarray(masks(KEY, 4, 6, 5))
    squares = drawn * np.square(np.asarray(x - predict(x, jnp.asarray(drawn))))
    np.testing.assert_allclose(loss, squares.sum() / 4, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["error"], squares.sum() / (2 * drawn.sum()), rtol=1e-5)
    apart = drawn * np.square(np.asarray(x) - np.asarray(x).mean(axis=0))
    np.testing.assert_allclose(aux.metrics["mean_image_error"], apart.sum() / (2 * drawn.sum()), rtol=1e-5)


# ---- functions of a run


def trained(configuration, data):
    return gen_jax.fit(configuration, data, training=gen_jax.Training(steps=1, batch_size=8), quiet=True)


PICTURES = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 1)).astype(np.uint8)
LABELS = np.arange(9, dtype=np.int32) % 3
CODER = Coder(3, (4,), (8,))
CODECS = {
    "autoencoder": autoencoder.AutoencoderConfig(CODER),
    "vae": DenseVAEConfig(3, (8,), conditional=True),
    "codec": vqvae.VQCodecConfig(channels=4, residual_channels=4, residual_layers=1, codes=5, code_width=2),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_run_encodes_and_reconstructs(name):
    data = {"image": PICTURES, "label": LABELS}
    run = trained(CODECS[name], data)
    told = {"label": LABELS} if run.model.given else {}
    codes, made = run.encode(PICTURES, **told), run.reconstruct(PICTURES, **told)
    field = run.model.latent_field
    assert codes.shape == (9, *field.shape) and codes.dtype == field.kind.stored
    assert made.shape == PICTURES.shape and made.dtype == np.uint8
    x = jnp.asarray(PIXELS.prepare(PICTURES))
    given = {key: jnp.asarray(value) for key, value in told.items()}
    z = jax.jit(run.model.to_latents)(run.params, run.buffers, x, **given)
    np.testing.assert_allclose(codes, z, atol=1e-5)
    expected = np.asarray(PIXELS.store(jax.jit(run.model.from_latents)(run.params, run.buffers, z, **given)), int)
    assert np.abs(made - expected).max() <= 1
    # In pieces, from a batch by name, and of nothing.
    np.testing.assert_allclose(run.encode(data if told else {"image": PICTURES}, batch_size=4), codes, atol=1e-5)
    assert run.reconstruct(PICTURES[:0], **{key: value[:0] for key, value in told.items()}).shape == (0, 4, 4, 1)
    if told:
        with pytest.raises(ValueError, match=r"this model is told label, got image; give label="):
            run.encode(PICTURES)
    for wrong, got in ((PICTURES[:, :3], r"uint8 \[9, 3, 4, 1\]"), (PICTURES / 255, r"float64 \[9, 4, 4, 1\]")):
        with pytest.raises(ValueError, match=r"image: expected uint8 \[N, 4, 4, 1\], got " + got):
            run.reconstruct(wrong, **told)
    with pytest.raises(ValueError, match=r"this model is of image, got picture"):
        run.encode({"picture": PICTURES})


def test_a_run_without_an_encoder_says_who_has_one():
    run = trained(inpainting.InPaintingConfig(CODER), PICTURES)
    for function in (run.encode, run.reconstruct):
        with pytest.raises(ValueError, match=r"^InPainting has no encoder; autoencoders, VAEs and the codec of a VQ-V"):
            function(PICTURES)
    filled = run.sample(0, 9, image=PICTURES)
    assert ((filled == PICTURES).mean(axis=(1, 2, 3)) >= 0.75).all()  # a block of 2x2 of 4x4 pixels at most
    assert run.sample(0, 3).shape == (3, 4, 4, 1)  # of images of its data


def test_an_autoencoder_is_a_codec():
    """A prior's samples, decoded; and its training sees the codes."""
    codec = autoencoder.AutoencoderConfig(LINEAR)
    game = gen_jax.models.LatentConfig(codec, DenseVAEConfig(2, (), likelihood="gaussian")).build(POINTS)
    batch = {"point": jax.random.normal(KEY, (8, 4))}
    params, buffers = game.init(KEY, batch)
    drawn = game.prior.sample(params, buffers, KEY, 3)
    layer = params["codec"]["decoder"]["body"]["layers"]["0"]
    expected = np.asarray(drawn) @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(game.sample(params, buffers, KEY, 3), expected, rtol=1e-4, atol=1e-5)
