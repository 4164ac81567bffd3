"""VQGAN: the sizes of its networks, how its critic's weight is found, and its two stages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import images
from gen_jax.losses.perceptual import perceptual
from gen_jax.models import vqgan
from gen_jax.models.autoregressive import sample_larger
from gen_jax.networks.transformer import CausalTransformer
from gen_jax.networks.vqgan import PatchCritic
from gen_jax.nn.functional import network, parameter_count
from tests.zoo import GAN_CODEC

KEY = jax.random.key(0)


def test_the_reference_has_the_published_sizes():
    game = vqgan.REFERENCE.codec.build(images((256, 256, 3)))
    params, _ = jax.eval_shape(lambda key: game.init(key, {}), KEY)
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert sizes["codec"] == 72_141_699 and sizes["critic"] == 2_765_633
    assert game.grid == (16, 16)
    logits = jax.eval_shape(
        lambda p, b, x: game.critic.apply(p, b, x)[0], *jax.eval_shape(game.critic.init, KEY), _image
    )
    assert logits.shape == (1, 30, 30)
    size = {"width": 1024, "layers": 24, "heads": 16}
    start = 1024  # the published one starts with a symbol of its alphabet
    transformer = network(CausalTransformer, codes=1024, length=512, classes=0, **size)
    assert parameter_count(transformer.init) == 304_932_864 + start


_image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)


def _game(**options):
    game = dataclasses.replace(GAN_CODEC, **options).build(images((8, 8, 1)))
    params, buffers = game.init(KEY, {})
    draw = lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)  # noqa: E731
    return game, jax.tree.map(draw, params), buffers


@pytest.mark.slow
def test_the_critics_gradient_at_the_last_layer_is_so_many_times_that_of_the_distances():
    game, params, buffers = _game(weight=0.8, beta=0.0)
    batch = {"image": jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1)}

    @jax.jit
    def at_last_layer(params, buffers):
        def gradient(weight, share):
            part = dataclasses.replace(game, weight=weight, perceptual=share)
            loss = lambda own: part.codec_loss({**params, "codec": own}, buffers, batch, KEY, step=0, ema=None)  # noqa: E731
            (_, aux), found = jax.value_and_grad(loss, has_aux=True)(params["codec"])
            return found["decoder"]["output"]["kernel"], aux.metrics["weight"]

        return [gradient(weight, share) for weight, share in ((0.0, 0.7), (0.8, 0.7), (0.4, 0.7))]

    (distances, none), (whole, weight), (half, less) = at_last_layer(params, buffers)
    norm = np.linalg.norm
    np.testing.assert_allclose(norm(whole - distances), 0.8 * norm(distances), rtol=1e-2)
    np.testing.assert_allclose(norm(half - distances), 0.4 * norm(distances), rtol=1e-2)
    np.testing.assert_allclose(weight, 2 * less, rtol=1e-5)
    assert none == 0


@pytest.mark.slow
def test_before_its_start_the_critic_neither_learns_nor_counts():
    game, params, buffers = _game(start=5)
    codec, critic = game.turns
    assert not critic.is_due(4) and critic.is_due(5) and codec.is_due(0)
    batch = {"image": jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1)}
    loss = jax.jit(lambda step: game.codec_loss(params, buffers, batch, KEY, step=step, ema=None)[1].metrics["weight"])
    assert loss(4) == 0 and loss(5) > 0


@pytest.mark.slow
def test_perceptual_distances_are_those_of_directions():
    rng = np.random.default_rng(0)
    x, y = ([rng.normal(size=(2, side, side, 3)).astype(np.float32) for side in (4, 2)] for _ in range(2))
    unit = lambda f: f / np.linalg.norm(f, axis=-1, keepdims=True)  # noqa: E731
    expected = sum(((unit(a) - unit(b)) ** 2).sum(-1).mean((1, 2)) for a, b in zip(x, y))
    np.testing.assert_allclose(perceptual(x, y), expected, rtol=1e-4)
    np.testing.assert_allclose(perceptual(x, [3 * a for a in x]), 0, atol=1e-6)
    silent = jax.grad(lambda a: perceptual([a], [jnp.ones((1, 2, 2, 3))]).sum())(jnp.zeros((1, 2, 2, 3)))
    assert jnp.isfinite(silent).all()


@pytest.mark.slow
def test_a_larger_grid_makes_a_larger_image():
    game = vqgan.VQGANConfig(GAN_CODEC, 8, 1, 2).build(images((8, 8, 1)))
    params, buffers = game.init(KEY, {"image": jnp.zeros((2, 8, 8, 1))})
    same = sample_larger(game, params, buffers, KEY, 2, (4, 4))
    np.testing.assert_allclose(same, game.sample(params, buffers, KEY, 2), atol=1e-5)
    assert sample_larger(game, params, buffers, KEY, 2, (5, 8)).shape == (2, 10, 16, 1)


def test_images_too_small_for_the_critic_are_refused():
    with pytest.raises(ValueError, match=r"^strides: expected fewer for images of 8x8, got 2$"):
        dataclasses.replace(GAN_CODEC, strides=2).build(images((8, 8, 1)))


@pytest.mark.slow
def test_the_critic_normalises_by_its_batch():
    net = network(PatchCritic, channels=1, width=4, strides=1)
    params, buffers = net.init(KEY)
    x = jax.random.normal(KEY, (6, 8, 8, 1))
    moved = net.apply(params, buffers, x, train=True)[1]
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(buffers)))
