"""StyleGAN3: published sizes, the plan of its layers, and how well it follows what moves its features."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gen_jax.fields import images
from gen_jax.models.stylegan3 import (
    REFERENCE,
    ROTATIONS,
    StyleGAN3Config,
    canvas,
    equivariance_to_rotations,
    equivariance_to_translations,
    rotated,
)
from gen_jax.networks.stylegan3 import Fourier, plan, scaled
from gen_jax.nn.functional import parameter_count

TINY = StyleGAN3Config("T", 4, 5, 1, layers=4, critical=1, base=4, most=8, margin=6, critic_base=4, critic_most=8)


@pytest.mark.parametrize(("configuration", "expected"), [(REFERENCE, 22_313_167), (ROTATIONS, 15_093_151)])
def test_published_parameter_counts(configuration, expected):
    model = configuration.build(images((1024, 1024, 3))).game
    assert parameter_count(model.generator.init) == expected
    assert parameter_count(model.critics[0].network.init) == 29_012_513


def test_the_plan_of_the_reference():
    """Sides and channels by which the authors name the layers of their network for 1024x1024 images."""
    levels = plan(1024, 3, layers=14, critical=2, base=32, most=512, margin=10)
    sides = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    widths = [512, 512, 512, 512, 512, 512, 512, 323, 203, 128, 81, 51, 32, 32, 3]
    assert [(level.side, level.channels) for level in levels] == list(zip(sides, widths, strict=True))
    # Cutoffs rise by one factor from 2 to half of the side, and signals fit below half of their rates.
    np.testing.assert_allclose([b.cutoff / a.cutoff for a, b in itertools.pairwise(levels[:13])], 256 ** (1 / 12))
    assert levels[0].cutoff == 2 and levels[12].cutoff == levels[14].cutoff == 512
    for level in levels:
        assert level.cutoff <= level.rate / 2 <= level.cutoff + level.half_width + 1e-9


@functools.cache
def game(kind="T", side=32, **options):
    model = replace(TINY, kind=kind, **options).build(images((side, side, 1)))
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    # As they are made, styles neither turn nor move the features.
    affine = params["generator"]["synthesis"]["input"]["affine"]
    affine["kernel"] = jax.random.normal(jax.random.key(7), affine["kernel"].shape)
    return model, params, buffers


@functools.cache
def measured(name, kind, side=32):
    measure = {"EQ-T": equivariance_to_translations, "EQ-R": equivariance_to_rotations}[name]
    model, params, buffers = game(kind, side)
    return float(jax.jit(lambda p, b, key: measure(model, p, b, key, 8))(params, buffers, jax.random.key(1)))


# At random weights, EQ-T: T 68 and R 96 decibels at a side of 32, 80 and 108 in the middle of it; EQ-R: T 29, R 73.
@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 28])
@pytest.mark.parametrize(("kind", "least"), [("T", 55.0), ("R", 80.0)])
def test_it_follows_translations(kind, least, side):
    assert measured("EQ-T", kind, side) > least


@pytest.mark.slow
def test_only_one_of_them_follows_rotations():
    assert measured("EQ-R", "R") > 60 > 40 > measured("EQ-R", "T")


@pytest.mark.slow
def test_without_margins_it_sees_its_border():
    """What the measure is for: a canvas that ends with the image makes the border a place that does not move."""
    model, params, buffers = game("T", 32, margin=0)
    measure = jax.jit(lambda p, b, key: equivariance_to_translations(model, p, b, key, 8))
    assert measure(params, buffers, jax.random.key(1)) < measured("EQ-T", "T") - 15


def test_fourier_features_are_a_signal_that_is_sampled():
    """At every pixel the sine of frequency times place, by hand; a motion is one of the places."""
    level = plan(16, 1, layers=3, critical=1, base=4, most=6, margin=2)[0]
    features = Fourier(level, 5, rngs=nnx.Rngs(0))
    features.affine.kernel[...] = jax.random.normal(jax.random.key(0), (5, 4))
    features.kernel[...] = jnp.eye(level.channels) * np.sqrt(level.channels)
    style = jax.random.normal(jax.random.key(1), (2, 5))
    t = np.asarray(features.affine(style), np.float64)
    t = t / np.hypot(t[:, 0], t[:, 1])[:, None]
    motion = np.array([[[0.8, -0.6, 0.1], [0.6, 0.8, -0.2]]] * 2)
    frequency, phase = np.asarray(features.frequency[...], np.float64), np.asarray(features.phase[...])
    assert (np.linalg.norm(frequency, axis=1) <= level.cutoff).all()
    found = features(style, jnp.asarray(motion, jnp.float32))
    for image in range(2):
        turn = np.array([[t[image, 0], -t[image, 1]], [t[image, 1], t[image, 0]]])
        for row, column in [(0, 0), (3, 7), (level.side - 1, 5)]:
            place = (np.array([column, row]) - (level.side - 1) / 2) / level.rate
            moved = turn @ (motion[image, :, :2] @ place + motion[image, :, 2] - t[image, 2:])
            expected = np.sin(2 * np.pi * (frequency @ moved + phase))
            np.testing.assert_allclose(found[image, row, column], expected, atol=1e-4)


def test_the_square_of_activations_is_followed_and_divided_by():
    square = nnx.BatchStat(jnp.full((), 4.0))
    x = jnp.full((20_000, 1, 1, 2), 3.0)
    np.testing.assert_allclose(scaled(x[:2], square, train=False), 1.5)
    np.testing.assert_allclose(scaled(x, square, train=True)[0, 0, 0, 0], 3 / np.sqrt(6.5), rtol=1e-5)
    np.testing.assert_allclose(square[...], 6.5)  # half of 4 and half of 9: 20,000 images


@pytest.mark.slow
def test_rotation_by_a_quarter_is_exact_and_others_are_those_of_the_wave():
    x = np.random.default_rng(0).normal(size=(8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(rotated(jnp.asarray(x), jnp.pi / 2), np.rot90(x, -1), atol=1e-4)
    np.testing.assert_allclose(rotated(jnp.asarray(x), jnp.float32(0)), x, atol=1e-5)
    place = np.arange(32) - 15.5
    angle = 0.7

    def wave(right, down):
        return np.cos(0.9 * right + 0.4 * down)[..., None].astype(np.float32)

    right, down = np.meshgrid(place, place)
    back = np.cos(angle) * right + np.sin(angle) * down, np.cos(angle) * down - np.sin(angle) * right
    seen = np.hypot(right, down) < 11
    found = rotated(jnp.asarray(wave(right, down)), jnp.float32(angle))
    np.testing.assert_allclose(found[seen], wave(*back)[seen], atol=0.01)


@pytest.mark.parametrize(("side", "expected"), [(28, 32), (32, 32), (33, 64), (5, 8), (1024, 1024)])
def test_canvas(side, expected):
    assert canvas((side, side - 1, 3)) == expected


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="critical: expected fewer than the 2 layers, got 2"):
        replace(TINY, layers=2, critical=2)
