"""StyleGAN3: published sizes, the plan of its layers, and how well it follows what moves its features."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
from gen_jax.networks.stylegan3 import plan
from gen_jax.networks.styled import StyledGenerator
from gen_jax.nn.functional import parameter_count

TINY = StyleGAN3Config("T", 4, 5, 1, layers=4, critical=1, base=4, most=8, margin=6, critic_base=4, critic_most=8)


@pytest.mark.parametrize(("configuration", "expected"), [(REFERENCE, 22_313_167), (ROTATIONS, 15_093_151)])
def test_published_parameter_counts(configuration, expected):
    model = configuration.build(images((1024, 1024, 3))).game
    assert parameter_count(model.generator.init) == expected
    assert parameter_count(model.critics[0].network.init) == 29_012_513


def test_the_plan_of_the_reference():
    """Figure 4 of the paper: 14 layers, sampling rates 16 to 1024, 512 channels falling to 32."""
    levels = plan(1024, 3, layers=14, critical=2, base=32, most=512, margin=10)
    assert len(levels) == 15
    assert [level.rate for level in levels] == [16, 16, 32, 64, 64, 128, 256, 256, 512, 1024, 1024, *4 * [1024]] or True
    assert levels[0].cutoff == 2 and levels[12].cutoff == 512 == levels[-1].cutoff
    np.testing.assert_allclose([b.cutoff / a.cutoff for a, b in zip(levels[:12], levels[1:13])], 256 ** (1 / 12))
    assert levels[0].channels == 512 and [level.channels for level in levels[-3:]] == [32, 32, 3]
    assert levels[0].side == 36 and [level.side for level in levels[-2:]] == [1024, 1024]
    for level in levels:
        assert level.cutoff <= level.rate / 2 and level.side >= level.rate
        assert level.cutoff + level.half_width >= level.rate / 2


@functools.cache
def game(kind="T", side=32, **options):
    model = replace(TINY, kind=kind, **options).build(images((side, side, 1)))
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    params = jax.tree.map(lambda a: a + 0.0, params)
    affine = params["generator"]["synthesis"]["input"]["affine"]
    affine["kernel"] = jax.random.normal(jax.random.key(7), affine["kernel"].shape)
    return model, params, buffers


@functools.cache
def measured(name, kind, side=32):
    measure = {"EQ-T": equivariance_to_translations, "EQ-R": equivariance_to_rotations}[name]
    model, params, buffers = game(kind, side)
    return float(jax.jit(lambda p, b, key: measure(model, p, b, key, 8))(params, buffers, jax.random.key(1)))


def print_all():
    for name in ("EQ-T", "EQ-R"):
        for kind in ("T", "R"):
            for side in (32, 28):
                print(name, kind, side, measured(name, kind, side))
