"""StyleGAN2: published sizes, modulation and path lengths in closed form, and what can be done with styles."""

import functools
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.fields import images
from gen_jax.models.stylegan2 import REFERENCE, StyleGAN2Config
from gen_jax.networks import stylegan2 as nets
from gen_jax.networks.styled import StyledGenerator
from gen_jax.nn.equalised import EqualisedConv, EqualisedLinear, leaky, pixel_norm
from gen_jax.nn.functional import network, parameter_count
from gen_jax.protocol import due

TINY = StyleGAN2Config(latent=6, style_width=5, mapping_layers=2, base=4, most=8, r1_every=2, path_every=2)


@functools.cache
def game(side=8, classes=0):
    model = replace(TINY, conditional=classes > 0).build(images((side, side, 1), classes))
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    # Noise and the mean of styles are at zero when they are made, and must be seen here.
    params = jax.tree.map(lambda a: a + 0.3 if a.ndim == 0 else a, params)
    buffers["generator"]["mean"] = jnp.linspace(-1, 1, 5)
    return model, params, buffers


@functools.cache
def compiled(name):
    """A function of the game, jitted: operation by operation it takes seconds to compile."""
    model = game()[0]
    static = {"styles": ("psi",), "interpolate": ("psi",), "project": ("steps", "candidates")}
    return jax.jit(getattr(model, name), static_argnames=static.get(name, ()))


def count(configuration, side, channels=3):
    model = configuration.build(images((side, side, channels))).game
    return parameter_count(model.generator.init), parameter_count(model.critics[0].network.init)


@pytest.mark.parametrize(
    ("side", "options", "expected"),
    [
        (1024, {}, (30_370_060, 29_012_513)),
        (1024, {"base": 16}, (24_900_764, 24_038_161)),
        (256, {"base": 64}, (24_767_458, 24_001_089)),
        # The authors' CIFAR critic is plain: without the three skips of 512x512.
        (32, {"base": 512, "mapping_layers": 2}, (19_947_539, 20_720_641 + 3 * 512**2)),
    ],
)
def test_published_parameter_counts(side, options, expected):
    assert count(replace(REFERENCE, **options), side) == expected


@pytest.mark.parametrize("by", [nets.keep, pytest.param(nets.enlarge, marks=pytest.mark.slow)])
def test_modulation_is_the_convolution_by_every_images_own_weights(by):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 6, 6, 4), (3, 3, 4, 5)))
    s = jnp.asarray(rng.uniform(0.2, 3, (3, 4)), jnp.float32)
    found = nets.modulated(x, kernel, s, by)
    for image, style, y in zip(x, s, found):
        w = np.asarray(kernel) * np.asarray(style)[:, None]
        w = w / np.sqrt((w**2).sum(axis=(0, 1, 2)) + 1e-8)
        np.testing.assert_allclose(by(image[None], jnp.asarray(w))[0], y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(nets.modulated(x, kernel, 7 * s, by), found, rtol=1e-4, atol=1e-4)
    gradient = jax.grad(lambda s: nets.modulated(x, kernel, s, by).sum())(jnp.zeros_like(s))
    chex.assert_tree_all_finite(gradient)


def test_demodulated_unit_noise_stays_at_unit_size():
    x = jax.random.normal(jax.random.key(0), (8, 16, 16, 32))
    kernel, s = (
        jax.random.normal(jax.random.key(1), (3, 3, 32, 24)),
        jnp.exp(jax.random.normal(jax.random.key(2), (8, 32))),
    )
    inside = nets.modulated(x, kernel, s)[:, 1:-1, 1:-1]  # the border sees zeros
    np.testing.assert_allclose(inside.std(), 1.0, rtol=0.05)


def test_layers_on_the_way_up_and_down_are_smoothed():
    """A constant image stays one away from the border: the filters add up to one, and so to four between zeros."""
    ones, centre = jnp.ones((1, 8, 8, 1)), jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    np.testing.assert_allclose(nets.enlarge(ones, centre)[0, 2:-2, 2:-2], 1.0, rtol=1e-6)
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 1))
    np.testing.assert_allclose(nets.enlarge(x, centre), nets.upsample(x), rtol=1e-5, atol=1e-6)


def test_equalised_layers():
    """Unit inputs come out with variance gain^2, whatever m; a step of the stored weight moves what is used by c."""
    x = jax.random.normal(jax.random.key(0), (4096, 64))
    for multiplier in (1.0, 0.01):
        layer = EqualisedLinear(64, 128, gain=np.sqrt(2), multiplier=multiplier, bias=1.0, rngs=nnx.Rngs(0))
        np.testing.assert_allclose((layer(x) - 1).var(), 2.0, rtol=0.03)
        np.testing.assert_allclose(layer(jnp.zeros((1, 64))), 1.0, rtol=1e-6)
        np.testing.assert_allclose(layer.kernel[...].std() * multiplier, 1.0, rtol=0.03)
        before = layer(jnp.eye(64))
        layer.kernel[...] += 1.0
        np.testing.assert_allclose(layer(jnp.eye(64)) - before, multiplier * np.sqrt(2 / 64), rtol=1e-3)
    conv = EqualisedConv(16, 32, gain=np.sqrt(2), rngs=nnx.Rngs(1))
    inside = conv(jax.random.normal(jax.random.key(1), (8, 16, 16, 16)))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inside.var(), 2.0, rtol=0.05)
    # E f(x)^2 = (1 + 0.2^2) / 2 for x of N(0, 1)
    np.testing.assert_allclose(jnp.square(leaky(x)).mean(), 0.52, rtol=0.02)
    np.testing.assert_allclose(jnp.square(pixel_norm(5 * x)).mean(axis=-1), 1.0, rtol=1e-5)


class Linear(nnx.Module):
    """An image that is a matrix times the first style."""

    layers = 3

    def __init__(self, matrix, side):
        self.matrix, self.side = nnx.Param(matrix), side

    def __call__(self, styles, *, key=None, train=False):
        return (styles[:, 0] @ self.matrix[...].T).reshape(len(styles), self.side, self.side, -1)


def test_path_lengths_of_a_linear_synthesis():
    """E |J^T y|^2 is the sum of squares of the matrix, over the pixels, and over the layers that have a style."""
    matrix = np.random.default_rng(0).normal(size=(4 * 4 * 2, 6)).astype(np.float32)
    net = network(
        StyledGenerator, synthesis=lambda rngs: Linear(matrix, 4), latent=3, width=6, mapping_layers=1, mixing=0.0
    )
    params, buffers = net.init(jax.random.key(0))
    z = jnp.zeros((20_000, 3)) + 1.0
    apply = partial(net.apply, params, buffers)
    styles = jnp.ones((20_000, 3, 6))
    lengths = apply(styles, key=jax.random.key(1), method=StyledGenerator.path_lengths)[0]
    np.testing.assert_allclose(jnp.square(lengths).mean(), (matrix**2).sum() / 16 / 3, rtol=0.02)
    # The mean is followed by a hundredth, and then the lengths vary about it.
    penalty, carried = apply(z, key=jax.random.key(1), train=True, method=StyledGenerator.penalise_path)
    a = 0.01 * lengths.mean()
    np.testing.assert_allclose(carried["path_length"], a, rtol=1e-2)
    np.testing.assert_allclose(penalty, jnp.square(lengths - a).mean(), rtol=2e-2)
    assert not jnp.any(carried["mean"])  # that of styles is followed by the generator's own turn


@pytest.mark.slow
def test_many_penalties_in_few_turns_are_as_large_as_few_in_every_turn():
    """Over 16 steps the penalties' turns add up to those of a penalty in every step, and fall on the steps they say."""
    model = TINY.build(images((8, 8, 1)))
    names = [[model.turns[i].loss.__name__ for i in due(model.turns, step)] for step in range(4)]
    often = ["critic_loss", "penalty_loss", "generator_loss", "penalty_loss"]
    assert names == 2 * [often, ["critic_loss", "generator_loss"]]
    _, params, buffers = game()
    batch = {"image": jax.random.uniform(jax.random.key(0), (8, 8, 8, 1), minval=-1)}

    def penalties(configuration):
        turns = configuration.build(images((8, 8, 1))).turns
        r1, path = (turns[i] for i in (1, 3))
        return [
            jax.jit(turn.loss)(params, buffers, batch, jax.random.key(1), step=0, ema=None)[0] / turn.every
            for turn in (r1, path)
        ]

    rare, common = penalties(replace(TINY, r1_every=16, path_every=4)), penalties(TINY)
    np.testing.assert_allclose(rare, common, rtol=1e-5)


@pytest.mark.slow
def test_the_mean_of_styles_follows_the_generators_turns():
    model, params, buffers = game()
    batch = {"image": jnp.zeros((8, 8, 8, 1))}
    _, aux = jax.jit(model.turns[2].loss)(params, buffers, batch, jax.random.key(1), step=0, ema=None)
    w = compiled("styles")(params, buffers, model.latents(jax.random.key(1), 8))[:, 0]
    expected = 0.995 * buffers["generator"]["mean"] + 0.005 * w.mean(axis=0)
    np.testing.assert_allclose(aux.buffers["generator"]["mean"], expected, rtol=1e-4, atol=1e-6)
    assert set(aux.buffers) == {"generator"}


def test_truncation_and_mixing():
    model, params, buffers = game()
    styles = compiled("styles")(params, buffers, jax.random.normal(jax.random.key(0), (4, 6)))
    assert styles.shape == (4, model.layers, 5) and model.layers == 4
    np.testing.assert_allclose(model.truncated(buffers, styles, 1.0), styles, rtol=1e-5, atol=1e-6)
    mean = compiled("decode")(params, buffers, model.truncated(buffers, styles, 0.0))
    np.testing.assert_allclose(mean, jnp.broadcast_to(mean[:1], mean.shape), atol=1e-5)
    half = model.truncated(buffers, styles, 0.5, layers=2)
    np.testing.assert_allclose(half[:, :2], (styles[:, :2] + buffers["generator"]["mean"]) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(half[:, 2:], styles[:, 2:])
    other = styles[::-1]
    for layer in range(model.layers + 1):
        mixed = model.mixed(styles, other, layer)
        np.testing.assert_array_equal(mixed[:, :layer], styles[:, :layer])
        np.testing.assert_array_equal(mixed[:, layer:], other[:, layer:])
    # Every layer has an effect of its own.
    alone = compiled("decode")(params, buffers, styles)
    for layer in range(model.layers):
        moved = compiled("decode")(params, buffers, styles.at[:, layer].add(1.0))
        assert jnp.abs(moved - alone).max() > 1e-4


@pytest.mark.slow
def test_interpolation_is_a_line_between_styles():
    _, params, buffers = game()
    start, end = jax.random.normal(jax.random.key(0), (2, 2, 6))
    found = compiled("interpolate")(params, buffers, start, end, jnp.array([0.0, 0.25, 1.0]), psi=0.7)
    assert found.shape == (2, 3, 8, 8, 1)
    a, b = (compiled("styles")(params, buffers, z, psi=0.7) for z in (start, end))
    for place, weight in enumerate((0.0, 0.25, 1.0)):
        expected = compiled("decode")(params, buffers, (1 - weight) * a + weight * b)
        np.testing.assert_allclose(found[:, place], expected, atol=1e-5)


@pytest.mark.slow
def test_projection_finds_images_that_the_generator_makes():
    _, params, buffers = game()
    w = compiled("styles")(params, buffers, jax.random.normal(jax.random.key(5), (3, 6)))
    wanted = compiled("decode")(params, buffers, w)
    found = compiled("project")(params, buffers, wanted, jax.random.key(1), steps=100, candidates=32)
    assert found.styles.shape == (3, 4, 5) and found.images.shape == wanted.shape and found.errors.shape == (100, 3)
    assert (found.errors[-1] < 0.01 * found.errors[0]).all()
    np.testing.assert_allclose(found.images, wanted, atol=0.02)


@pytest.mark.slow
def test_noise():
    _, params, buffers = game()
    styles = compiled("styles")(params, buffers, jnp.ones((2, 6)))
    same = compiled("decode")(params, buffers, styles)
    np.testing.assert_allclose(same[0], same[1], atol=1e-6)
    one, two = (compiled("decode")(params, buffers, styles, key=jax.random.key(k)) for k in (0, 1))
    assert jnp.abs(one[0] - one[1]).max() > 1e-3 and jnp.abs(one - two).max() > 1e-3
    # As it is made, noise has no weight.
    silent = jax.tree.map(lambda a: 0 * a if a.ndim == 0 else a, params)
    one, two = (compiled("decode")(silent, buffers, styles, key=jax.random.key(k)) for k in (0, 1))
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_labels_matter():
    model, params, buffers = game(8, 3)
    z = jax.random.normal(jax.random.key(0), (3, 6))
    styles = [model.styles(params, buffers, z, label=jnp.full(3, c)) for c in range(2)]
    assert jnp.abs(styles[0] - styles[1]).max() > 1e-3
    critic, x = model.game.critics[0].network, jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    logits = [critic.apply(params["critic"], buffers["critic"], x, jnp.full(4, c))[0] for c in range(2)]
    assert logits[0].shape == (4,) and jnp.abs(logits[0] - logits[1]).max() > 1e-3
    with pytest.raises(ValueError, match="a label per latent"):
        model.sample(params, buffers, jax.random.key(0), 2)


@pytest.mark.slow
def test_bfloat16_weights():
    model, params, buffers = game()
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    batch = {"image": jax.random.uniform(jax.random.key(0), (8, 8, 8, 1), minval=-1)}
    for turn in model.turns:
        loss = jax.jit(turn.loss)
        full, _ = loss(params, buffers, batch, jax.random.key(1), step=0, ema=None)
        found, aux = loss(half, buffers, batch, jax.random.key(1), step=0, ema=None)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, full, rtol=0.02)
        for player, carried in aux.buffers.items():
            chex.assert_trees_all_equal_dtypes(carried, buffers[player])
