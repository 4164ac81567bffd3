"""StyleGAN: published sizes, what a layer does, and how it grows."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import nnx

from gen_jax.fields import images
from gen_jax.models.progan import at_level
from gen_jax.models.stylegan import REFERENCE, StyleGANConfig
from gen_jax.networks.stylegan import Styled, instance_norm, smooth
from gen_jax.nn.functional import parameter_count

TINY = StyleGANConfig(latent=4, style_width=5, mapping_layers=2, widths=(6, 4), levels=2)


@pytest.mark.parametrize(("side", "levels", "expected"), [(1024, 9, 26_219_627), (256, 7, 26_086_229)])
def test_published_parameter_counts(side, levels, expected):
    model = replace(REFERENCE, levels=levels).build(images((side, side, 3))).game
    assert parameter_count(model.generator.init) == expected
    if levels == 9:
        assert parameter_count(model.critics[0].network.init) == 23_087_249


def test_adaptive_normalisation():
    """What leaves a layer has the mean and the spread that the style says, in every channel of every image."""
    x = 3 + 5 * jax.random.normal(jax.random.key(0), (4, 6, 6, 3))
    x = x.at[0, :, :, 1].set(2.0)  # a constant channel has no spread, and stays finite
    layer = Styled((6, 6), 3, 5, rngs=nnx.Rngs(0))
    layer.affine.bias[...] = jnp.arange(6.0) / 4
    style = jax.random.normal(jax.random.key(1), (4, 5))
    scale, shift = np.split(np.asarray(layer.affine(style)), 2, axis=-1)
    y = layer(x, style, None)
    np.testing.assert_allclose(y.mean(axis=(1, 2)), shift, atol=1e-4)
    expected = np.abs(1 + scale)
    expected[0, 1] = 0.0
    np.testing.assert_allclose(y.std(axis=(1, 2)), expected, rtol=1e-3, atol=1e-4)
    assert jnp.isfinite(jax.grad(lambda x: layer(x, style, None).sum())(x)).all()
    assert instance_norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_smoothing_is_scipys():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    kernel = np.outer([1, 2, 1], [1, 2, 1])[None, :, :, None] / 16
    np.testing.assert_allclose(smooth(x), scipy.ndimage.convolve(x, kernel, mode="constant"), atol=1e-6)


@functools.cache
def game(levels=2, side=8):
    model = at_level(TINY, levels, 10).build(images((side, side, 1)))
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    return model, jax.tree.map(lambda a: a + 0.1, params), buffers


@pytest.mark.slow
def test_before_the_fade_it_is_the_image_of_the_level_before_enlarged():
    large, params, buffers = game()
    small, _, old = game(1, 4)
    own, synthesis = params["generator"], params["generator"]["synthesis"]
    first = {
        "convolutions": {"0": synthesis["convolutions"]["0"]},
        "styled": {name: synthesis["styled"][name] for name in ("0", "1")},
        "images": {"0": synthesis["images"]["0"]},
    }
    cut = {"generator": {**own, "synthesis": {**synthesis, **first}}}
    styles = jax.random.normal(jax.random.key(1), (3, 4, 5))
    noise = buffers["generator"]["synthesis"]["styled"]
    kept = {**old["generator"]["synthesis"], "styled": {name: noise[name] for name in ("0", "1")}}
    before = small.decode(cut, {"generator": {**old["generator"], "synthesis": kept}}, styles[:, :2])
    found = large.decode(params, buffers, styles)
    np.testing.assert_allclose(found, np.asarray(before).repeat(2, axis=1).repeat(2, axis=2), atol=1e-5)


@pytest.mark.slow
def test_every_layer_has_an_effect_when_it_is_grown():
    model, params, buffers = game()
    # The schedule of its turns is what fades: here it is over.
    buffers, _ = model.game.schedule(buffers, {"image": jnp.zeros((1, 8, 8, 1))}, 10)
    decode, styles = jax.jit(model.decode), jax.random.normal(jax.random.key(1), (3, 4, 5))
    alone = decode(params, buffers, styles)
    for layer in range(model.layers):
        assert jnp.abs(decode(params, buffers, styles.at[:, layer].add(1.0)) - alone).max() > 1e-4
    drawn = [decode(params, buffers, styles, key=jax.random.key(seed)) for seed in (0, 1)]
    assert jnp.abs(drawn[0] - drawn[1]).max() > 1e-4


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="levels: expected at most the 2"):
        replace(TINY, levels=3)
