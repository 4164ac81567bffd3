"""CycleGAN: published sizes, losses of generators that are known, a pool that is counted, and pix2pix beside it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.evaluate.translation import colour_mapped, copied, error
from gen_jax.fields import PIXELS, Field
from gen_jax.models import cyclegan, pix2pix
from gen_jax.models.cyclegan import CycleGAN, CycleGANConfig, Sides, pooled
from gen_jax.models.pix2pix import Pix2Pix
from gen_jax.networks import translators
from gen_jax.networks.translators import PatchCritic, Translators
from gen_jax.nn.functional import network, parameter_count
from gen_jax.protocol import Network

NOW = {"step": 0, "ema": None}
KEY = jax.random.key(0)


def domains(side, channels=3, other=3):
    return {"image": Field((side, side, channels), PIXELS), "other": Field((side, side, other), PIXELS)}


def test_the_reference_has_the_published_sizes():
    model = cyclegan.REFERENCE.build(domains(256))
    for net in model.generators:
        assert parameter_count(net.init) == 11_378_179
    for net in model.critics:
        assert parameter_count(net.init) == 2_764_737
    six = CycleGANConfig(Translators(blocks=6)).build(domains(128))
    assert parameter_count(six.generators.other.init) == 7_837_699


@pytest.mark.parametrize(("side", "logits"), [(256, 30), (128, 14)])
def test_a_critic_has_a_logit_for_every_patch(side, logits):
    net = network(PatchCritic, inputs=3, width=64, strides=3)
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params, buffers = jax.eval_shape(net.init, KEY)
    assert jax.eval_shape(net.apply, params, buffers, x)[0].shape == (1, logits, logits)


def test_a_patch_is_of_seventy_pixels(monkeypatch):
    """Without norms, which see all of an image: where the slope of one logit lies."""
    net = network(PatchCritic, inputs=1, width=1, strides=3)
    params, buffers = jax.jit(net.init)(KEY)
    params = jax.tree.map(jnp.ones_like, params)

    monkeypatch.setattr(translators, "_norm", lambda x: x)
    slope = np.asarray(
        jax.jit(jax.grad(lambda x: net.apply(params, buffers, x)[0][0, 7, 7]))(jnp.ones((1, 128, 128, 1)))
    )
    slope = slope[0, :, :, 0]
    rows, columns = np.nonzero(slope)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 70


def linear(matrix):
    """``x [B, 1, 1, C] -> x`` times a matrix."""
    return Network(lambda key: (jnp.asarray(matrix, jnp.float32), {}), lambda p, b, x, **_: (x @ p, b))


def constant(value):
    return Network(lambda key: (jnp.array(value), {}), lambda p, b, x, **_: (p + 0 * x[..., 0], b))


def a_game(there, back, logit=0.0, **options):
    critics = Sides(constant(logit), constant(logit))
    return CycleGAN(Sides(linear(there), linear(back)), critics, ((1, 1, 3), (1, 1, 3)), **options)


def a_batch(n=6):
    draw = np.random.default_rng(0).normal
    return {name: draw(size=(n, 1, 1, 3)).astype(np.float32) for name in ("image", "other")}


def test_the_way_there_and_back_of_inverse_maps_costs_nothing():
    matrix = np.random.default_rng(1).normal(size=(3, 3))
    exact, wrong = (a_game(matrix, back, identity=0.0) for back in (np.linalg.inv(matrix), matrix.T))
    found = []
    for model in (exact, wrong):
        params, buffers = model.init(KEY, {})
        found.append(float(model.generator_loss(params, buffers, a_batch(), KEY, **NOW)[1].metrics["cycle"]))
    assert found[0] < 1e-5
    x, y = (a_batch()[name][:, 0, 0] for name in ("image", "other"))
    expected = np.abs(x @ matrix @ matrix.T - x).mean() + np.abs(y @ matrix.T @ matrix - y).mean()
    np.testing.assert_allclose(found[1], expected, rtol=1e-5)


@pytest.mark.parametrize(("logit", "of_generator", "of_critic"), [(0.5, 0.25, 0.25), (0.0, 1.0, 0.5), (1.0, 0.0, 0.5)])
def test_the_losses_of_identities_under_an_undecided_critic(logit, of_generator, of_critic):
    """What stays as it is costs nothing but what the critics say, each a quarter where they say a half."""
    model = a_game(np.eye(3), np.eye(3), logit)
    params, buffers = model.init(KEY, {})
    loss, aux = model.generator_loss(params, buffers, a_batch(), KEY, **NOW)
    np.testing.assert_allclose(loss, 2 * of_generator, atol=1e-6)
    assert aux.metrics["cycle"] == aux.metrics["identity"] == 0
    np.testing.assert_allclose(model.critic_loss(params, buffers, a_batch(), KEY, **NOW)[0], 2 * of_critic, atol=1e-6)


def test_the_weights_of_the_parts():
    model = a_game(2 * np.eye(3), np.eye(3), 1.0, cycle=3.0, identity=0.5)
    params, buffers = model.init(KEY, {})
    batch = a_batch()
    size = {name: np.abs(x).mean() for name, x in batch.items()}
    expected = 3.0 * (size["image"] + size["other"]) + 1.5 * size["other"]
    np.testing.assert_allclose(model.generator_loss(params, buffers, batch, KEY, **NOW)[0], expected, rtol=1e-5)


def test_a_pool_is_filled_and_then_gives_back_half_of_what_it_is_given():
    pool = {"images": jnp.zeros((50, 1)), "filled": jnp.zeros(())}
    run = jax.jit(pooled)
    number, held, again = 0, set(), 0
    for step in range(100):
        fakes = jnp.arange(number, number + 50, dtype=jnp.float32)[:, None]
        shown, pool = run(pool, fakes, jax.random.key(step))
        shown = np.asarray(shown)[:, 0]
        for fake, seen in zip(np.arange(number, number + 50), shown):
            if step == 0:
                assert fake == seen
                held.add(fake)
            elif fake != seen:
                assert seen in held  # it was there, and what came has its place
                held = (held - {seen}) | {fake}
                again += 1
        assert {int(x) for x in np.asarray(pool["images"])[:, 0]} == {int(x) for x in held}
        number += 50
    np.testing.assert_allclose(again / 4950, 0.5, atol=0.03)


def test_without_a_pool_critics_see_what_was_made():
    fakes = jnp.ones((4, 2))
    shown, pool = pooled({"images": jnp.zeros((0, 2)), "filled": jnp.zeros(())}, fakes, KEY)
    assert shown is fakes and not pool["images"].size


def test_samples_are_translations_in_the_direction_asked_for():
    matrix = np.random.default_rng(1).normal(size=(3, 3))
    x = a_batch()["image"]
    for makes, given, expected in (("other", "image", x @ matrix), ("image", "other", x @ np.linalg.inv(matrix))):
        model = a_game(matrix, np.linalg.inv(matrix), makes=makes)
        params, buffers = model.init(KEY, {})
        assert model.given == (given,)
        np.testing.assert_allclose(model.sample(params, buffers, KEY, 6, **{given: x}), expected, rtol=1e-4, atol=1e-5)


def test_pix2pix_by_its_definition():
    critic = Network(lambda key: (jnp.ones(6), {}), lambda p, b, x, **_: (x @ p, b))
    model = Pix2Pix(linear(2 * np.eye(3)), critic, weight=7.0)
    params, buffers = model.init(KEY, {})
    batch = a_batch()
    x, y = (batch[name][:, 0, 0].astype(np.float64) for name in ("image", "other"))
    fake, real = (x + 2 * x).sum(1), (x + y).sum(1)
    losses = [jax.jit(functools.partial(turn.loss, **NOW))(params, buffers, batch, KEY)[0] for turn in model.turns]
    np.testing.assert_allclose(losses[0], (np.log1p(np.exp(-real)) + np.log1p(np.exp(fake))).mean() / 2, rtol=1e-5)
    np.testing.assert_allclose(losses[1], np.log1p(np.exp(-fake)).mean() + 7 * np.abs(2 * x - y).mean(), rtol=1e-5)


def test_what_must_be_beaten():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 5, 5, 1), np.uint8)
    assert error(x, x) == 0 and error(np.zeros_like(x), np.full_like(x, 7)) == 7
    np.testing.assert_array_equal(colour_mapped(x, (x, 255 - x)), 255 - x)  # a negative is a map of levels
    colour = rng.integers(0, 256, (4, 5, 5, 3), np.uint8)
    swapped = colour[..., ::-1] // 2
    assert error(colour_mapped(colour, (colour, swapped)), swapped) <= 0.5
    assert copied(colour, x).shape == x.shape and copied(x, colour).shape == colour.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cyclegan.SMALL.build({"image": Field((8, 8, 1), PIXELS)}), "a tuple of two data sets"),
        (lambda: pix2pix.SMALL.build({**domains(8), "other": Field((9, 8, 3), PIXELS)}), "one size"),
        (lambda: cyclegan.SMALL.build(domains(32, other=1)), "identity: expected 0"),
        (lambda: cyclegan.REFERENCE.build(domains(16)), "strides: expected fewer"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
