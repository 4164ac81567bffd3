"""Images of any height and width: every model of the zoo takes them, padded where its networks cannot halve them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import PIXELS, classes_of
from gen_jax.nn.fit import padded, whole
from gen_jax.nn.ladder import sizes
from gen_jax.protocol import Network
from tests.tiers import mostly_slow
from tests.zoo import DEEP, ZOO

SHAPES = [(30, 30, 1), (48, 64, 3), (7, 5, 1)]
RUN = [("vqvae", (7, 5, 1)), ("dcgan", (6, 9, 1)), ("flow_matching_unet", (7, 5, 3))]
EVERY = {**ZOO, **DEEP}
LONG = ("sngan", "r3gan", "nvae", "two_stage", "vae_gan", "vqgan", "vqgan_codec")  # to trace
OF_IMAGES = [name for name, entry in EVERY.items() if "image" in entry.fields]


def made(name, shape):
    """A model of the zoo for images of ``shape``, a batch, and ``(losses, samples)`` from a key."""
    entry = EVERY[name]
    pictures = {key: field._replace(shape=shape) for key, field in entry.fields.items() if field.kind is PIXELS}
    model = entry.configuration.build({**entry.fields, **pictures})
    classes, draw = classes_of(entry.fields), np.random.default_rng(0).uniform
    batch = {key: jnp.asarray(draw(-1, 1, (8, *shape)), jnp.float32) for key in pictures}
    batch |= {"label": jnp.arange(8) % classes} if classes else {}
    told = {key: batch[key][:2] for key in model.given}

    def once(key, batch):
        params, buffers = model.init(key, batch)
        ema = {"params": params, "buffers": buffers}
        losses = [turn.loss(params, buffers, batch, key, step=0, ema=ema)[0] for turn in model.turns]
        return losses, model.sample(params, buffers, key, 2, **told)

    return once, batch


@pytest.mark.parametrize("shape", mostly_slow(SHAPES, (7, 5, 1)), ids=str)
@pytest.mark.parametrize("name", mostly_slow(OF_IMAGES, *(name for name in OF_IMAGES if name not in LONG)))
def test_every_model_takes_images_of_every_size(name, shape):
    once, batch = made(name, shape)
    losses, drawn = jax.eval_shape(once, jax.random.key(0), batch)
    assert [loss.shape for loss in losses] == [()] * len(losses)
    assert drawn.shape == (2, *shape) and drawn.dtype == jnp.float32


@pytest.mark.parametrize("case", mostly_slow(RUN, RUN[1]), ids=str)
def test_losses_and_samples_are_finite(case):
    name, shape = case
    once, batch = made(name, shape)
    losses, drawn = jax.jit(once)(jax.random.key(0), batch)
    assert all(jnp.isfinite(loss) for loss in losses)
    assert drawn.shape == (2, *shape) and jnp.isfinite(drawn).all() and jnp.abs(drawn).max() <= 1


# ---- the padding


def brightness(size):
    """A network that adds the mean of all that it sees, and tells it."""

    def apply(params, buffers, x, t, *, key=None, train=False):
        mean = x.mean(axis=(1, 2, 3))
        return (x + mean[:, None, None, None], mean + t), {**buffers, "size": size}

    return Network(lambda key: ({"size": size}, {}), apply)


@pytest.mark.parametrize("size", [(7, 5), (8, 6), (1, 4), (9, 3)])
def test_borders_are_repeated_on_the_way_in_and_cropped_on_the_way_out(size):
    large = tuple(4 * int(np.ceil(side / 4)) for side in size)
    margins = [((b - a) // 2, (b - a + 1) // 2) for a, b in zip(size, large, strict=True)]
    x, t = np.random.default_rng(0).normal(size=(2, *size, 3)), np.array([1.0, 2.0])
    net = padded(brightness, size, 4)
    (y, told), buffers = net.apply({}, {}, jnp.asarray(x), jnp.asarray(t), train=True)
    mean = np.pad(x, [(0, 0), *margins, (0, 0)], mode="edge").mean(axis=(1, 2, 3))
    np.testing.assert_allclose(y, x + mean[:, None, None, None], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told, mean + t, rtol=1e-5, atol=1e-6)
    assert net.init(None)[0]["size"] == buffers["size"] == large


def test_nothing_is_done_where_nothing_is_needed():
    net = brightness((8, 12))
    assert padded(lambda size: net, (8, 12), 4) is net


@pytest.mark.parametrize("multiple", range(1, 9))
def test_the_next_size_that_is_divisible(multiple):
    for side in range(1, 20):
        expected = next(n for n in range(side, 100) if n % multiple == 0)
        assert whole((side, 3 * side), multiple)[0] == expected


def test_levels_are_halved_where_both_sides_can_be():
    assert sizes((48, 64), 5) == [(48, 64), (24, 32), (12, 16), (6, 8), (6, 8)]
    assert sizes((20, 32), 4) == [(20, 32), (10, 16), (5, 8), (5, 8)]
    assert sizes((64, 4), 3) == [(64, 4)] * 3
