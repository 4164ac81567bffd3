"""What is done to images before a critic sees them: exactness, laws, and that the law of images can be told from it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.losses.adversarial import wasserstein
from gen_jax.models.critics import Critic, r1
from gen_jax.models.gan import GAN
from gen_jax.networks.augmented import Augmentation, adapted, augmented
from gen_jax.nn.augment import blits, differentiable, pipe
from gen_jax.protocol import Network

KEY = jax.random.key(0)
NOW = {"step": 0, "ema": None}
OF = {"differentiable": lambda x, key: differentiable(x, key), "pipe": lambda x, key: pipe(x, key, 0.7)}


def some_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(5, 8, 8, 3), (3, 7, 12, 1)])
def test_a_share_of_zero_changes_nothing_at_all(shape):
    x = some_images(*shape)
    np.testing.assert_array_equal(jax.jit(pipe)(x, KEY, 0.0), x)


def test_whole_moves_keep_every_pixel():
    x = np.arange(6 * 8 * 8, dtype=np.float32).reshape(6, 8, 8, 1)
    y = np.asarray(jax.jit(blits)(x, KEY, 1.0))
    assert (y != x).any(axis=(1, 2, 3)).all()
    for before, after in zip(x, y):
        assert np.isin(after, before).all() and len(np.unique(after)) >= 49  # all but what a shift pushes out


def _orientations():
    """The eight of a square of four pixels: mirrored or not, then turned."""
    square = np.arange(4.0).reshape(2, 2)
    return [np.rot90(square[:, ::-1] if m else square, k) for m, k in itertools.product((0, 1), range(4))]


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_below_one_the_law_of_images_can_be_told_from_that_of_the_augmented(share):
    """On the eight orientations mirrors and turns are a matrix; its inverse gives the law of images back."""
    every = _orientations()

    def index(x):
        return next(i for i, known in enumerate(every) if (known == x).all())

    turns, mirrors = np.zeros((8, 8)), np.zeros((8, 8))
    for j, x in enumerate(every):
        for k in range(4):
            turns[index(np.rot90(x, k)), j] += share / 4
        turns[j, j] += 1 - share
        mirrors[j, j] += 1 - share / 2
        mirrors[index(x[:, ::-1]), j] += share / 2
    matrix = mirrors @ turns
    n = 40_000
    law = np.array([0.5, 0.3, 0, 0, 0.2, 0, 0, 0])
    x = np.repeat(np.stack(every), (n * law).round().astype(int), axis=0)[..., None].astype(np.float32)
    seen = np.asarray(jax.jit(blits)(x, KEY, share))[..., 0]
    found = np.array([(seen == known).all(axis=(1, 2)).mean() for known in every])
    np.testing.assert_allclose(found.sum(), 1)
    np.testing.assert_allclose(found, matrix @ law, atol=0.01)
    smallest = np.abs(np.linalg.eigvals(matrix)).min()
    np.testing.assert_allclose(smallest, (1 - share) ** 2, atol=1e-9)
    if share < 0.5:
        np.testing.assert_allclose(np.linalg.solve(matrix, found), law, atol=0.03)
    if share == 1:
        np.testing.assert_allclose(found, 1 / 8, atol=0.01)  # nothing is left of it


@pytest.mark.slow
def test_grey_stays_grey_and_brightness_and_contrast_have_their_spread():
    x = jnp.zeros((4000, 4, 4, 3))
    y = np.asarray(jax.jit(pipe)(x, KEY, 1.0))
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1, :1, :1], y.shape), atol=1e-5)
    # N(0, 0.2^2) times 2^N(0, 1/2^2), whose mean square is exp((2 log 2)^2 / 8).
    np.testing.assert_allclose(y[:, 0, 0, 0].std(), 0.2 * np.exp((2 * np.log(2)) ** 2 / 16), rtol=0.05)


@pytest.mark.slow
def test_colours_turn_about_the_grey_axis():
    """A pure colour keeps its distance from that axis but for contrast and saturation, whose law is known."""
    x = jnp.broadcast_to(jnp.array([1.0, -1.0, 0.0]), (4000, 2, 2, 3))
    y = np.asarray(jax.jit(pipe)(x, KEY, 1.0))[:, 0, 0]
    colour = y - y.mean(axis=1, keepdims=True)
    length = np.log2(np.linalg.norm(colour, axis=1) / np.sqrt(2))
    np.testing.assert_allclose([length.mean(), length.std()], [0, np.sqrt(1 + 0.25)], atol=0.05)
    np.testing.assert_allclose(colour.mean(axis=0), 0, atol=0.15)  # any hue


def test_of_a_plain_image_brightness_translation_and_cutout_are_left():
    x = jnp.full((500, 16, 16, 1), 10.0)
    y = np.asarray(jax.jit(differentiable)(x, KEY))[..., 0]
    level = y.max(axis=(1, 2))
    assert (np.isclose(y, level[:, None, None], rtol=1e-5) | (y == 0)).all()
    assert level.min() >= 9.5 and level.max() <= 10.5
    np.testing.assert_allclose(level.std(), 1 / np.sqrt(12), rtol=0.1)
    zeros = (y == 0).sum(axis=(1, 2))
    assert zeros.max() <= 64 + 256 - 14 * 14 and (zeros >= 16).all()  # a quarter, of which three may lie outside
    rows = (y == 0).all(axis=2).sum(axis=1)
    assert rows.max() <= 2  # an eighth


def test_contrast_and_saturation_are_about_their_means():
    rng = np.random.default_rng(0)
    x = np.broadcast_to(rng.normal(size=(1, 32, 32, 3)), (200, 32, 32, 3)).astype(np.float32)
    y = np.asarray(jax.jit(differentiable)(x, KEY))
    kept = np.abs(y[:, 12:20, 12:20]).min(axis=(1, 2, 3)) > 0  # of which the middle was not cut out
    grey, colour = y.mean(axis=3), y - y.mean(axis=3, keepdims=True)
    contrast = grey[kept, 12:20, 12:20].std(axis=(1, 2)) / x[0].mean(axis=2).std()
    saturation = colour[kept, 12:20, 12:20].std(axis=(1, 2, 3)) / (x[0] - x[0].mean(axis=2, keepdims=True)).std()
    assert contrast.min() > 0.35 and contrast.max() < 1.9  # 1/2 to 3/2, of a window's deviation
    np.testing.assert_allclose([contrast.mean(), saturation.mean()], [1, 1], atol=0.15)
    np.testing.assert_allclose((saturation / contrast).std(), 2 / np.sqrt(12), rtol=0.25)


@pytest.mark.parametrize("kind", ["differentiable", pytest.param("pipe", marks=pytest.mark.slow)])
def test_gradients_pass_and_no_image_sees_another(kind):
    x, apply = some_images(4, 8, 8, 3), jax.jit(OF[kind])
    slope = jax.jit(jax.grad(lambda x: (OF[kind](x, KEY) ** 2).sum()))(x)
    assert np.isfinite(slope).all() and (np.abs(slope).max(axis=(1, 2, 3)) > 1e-3).all()
    other = np.concatenate([x[:2], 5 * x[2:]])
    np.testing.assert_array_equal(apply(x, KEY)[:2], apply(other, KEY)[:2])


# ---- the share that adapts itself


def _after(signs, batches, share=0.0, images=500_000):
    buffers = {"share": jnp.array(share), "signs": 0.0, "seen": 0.0, "batches": 0.0}
    step = jax.jit(functools.partial(adapted, target=0.6, images=images))
    for _ in range(batches):
        buffers, figures = step(buffers, jnp.asarray(signs, jnp.float32))
    assert figures["augmented_share"] == buffers["share"]
    return float(buffers["share"])


def test_the_share_moves_every_fourth_batch_by_what_it_has_seen():
    assert _after(np.ones(64), 3) == 0
    np.testing.assert_allclose(_after(np.ones(64), 4), 0.000512, rtol=1e-5)
    np.testing.assert_allclose(_after(np.ones(64), 43), 10 * 0.000512, rtol=1e-5)
    np.testing.assert_allclose(_after([1, 1, 1, -1], 8, share=0.5, images=100), 0.5 - 2 * 16 / 100, rtol=1e-5)
    assert _after(np.ones(500), 8, images=1000) == 1 and _after(-np.ones(500), 8, share=0.3, images=1000) == 0


def linear(weight):
    """A critic that adds up its input, times a weight."""
    return Network(lambda key: (jnp.array(weight), {}), lambda p, b, x, *_, **__: (p * x.sum(axis=(1, 2, 3)), b))


def test_real_and_generated_examples_and_penalties_pass_through_the_augmentation():
    """Of a transform that halves: both logits and the gradient are half as large, and no key, as of samples, none."""
    net = augmented(linear(3.0), lambda x, key, share: x * share, 0.5)
    generator = Network(lambda key: (jnp.array(1.0), {}), lambda p, b, z, *_, **__: (p + 0 * z.reshape(-1, 1, 1, 1), b))
    game = GAN((1, 1, 1), 0, generator, (Critic("critic", net, wasserstein, (r1(2.0),)),), 1)
    params, buffers = game.init(KEY, {})
    batch = {"image": jnp.full((4, 1, 1, 1), 5.0)}
    loss, aux = game.turns[0].loss(params, buffers, batch, KEY, **NOW)
    assert float(aux.metrics["real_logit"]) == 7.5 and float(aux.metrics["fake_logit"]) == 1.5
    np.testing.assert_allclose(loss, 1.5 - 7.5 + 1.5**2, rtol=1e-6)
    slope = jax.grad(lambda p: game.turns[1].loss({**params, "generator": p}, buffers, batch, KEY, **NOW)[0])
    np.testing.assert_allclose(slope(params["generator"]), -1.5)
    assert float(net.apply(params["critic"], buffers["critic"], batch["image"])[0][0]) == 15


def test_a_critic_that_is_sure_of_its_data_raises_the_share():
    plain = Augmentation("adaptive", images=64)
    critic = Critic("critic", plain.applied(linear(1.0)), wasserstein, adapt=plain.adapt)
    generator = Network(lambda key: (jnp.array(0.0), {}), lambda p, b, z, *_, **__: (p + 0 * z.reshape(-1, 1, 1, 1), b))
    game = GAN((2, 2, 1), 0, generator, (critic,), 1)
    params, buffers = jax.jit(game.init)(KEY, {})
    turn = jax.jit(functools.partial(game.turns[0].loss, **NOW))
    for _ in range(8):
        _, aux = turn(params, buffers, {"image": jnp.ones((4, 2, 2, 1))}, KEY)
        buffers = {**buffers, **aux.buffers}
    assert float(buffers["critic"]["share"]) == 2 * 16 / 64


def test_a_pipe_that_changes_nothing_is_refused():
    with pytest.raises(ValueError, match="share: expected more than 0"):
        Augmentation("pipe")
