"""Learned variances and the times at which the bound is looked at."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import fields
from gen_jax.diffusion import samplers, schedules
from gen_jax.models.ddpm import DDPMConfig
from gen_jax.models.improved_ddpm import HYBRID, ImprovedDDPMConfig, LossSecondMoment, Objective, first_half
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network

TINY = ImprovedDDPMConfig(
    DDPMConfig(Denoiser(channels=4, multipliers=(1,), blocks=1), timesteps=20, sampling_steps=20, sampler="ancestral")
)
SHAPE = (8, 8, 1)
LINEAR = schedules.discrete(schedules.linear_betas(1000))


def saying(h, configuration=TINY):
    """A model whose network says half of x_t, and ``h`` of the variance; ``h`` is its parameter."""

    def apply(params, buffers, x, t, label=None, **_):
        return jnp.concatenate([params["f"] * x, jnp.broadcast_to(params["h"], x.shape)], axis=-1), buffers

    model = configuration.build(fields.images(SHAPE))
    net = Network(lambda key: ({"f": jnp.array(0.5), "h": jnp.asarray(h)}, {}), apply)
    diffusion = dataclasses.replace(model.diffusion, network=first_half(net))
    model = dataclasses.replace(model, network=net, diffusion=diffusion)
    return model, *model.init(jax.random.key(0), {})


def images(n=16):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (n, *SHAPE)) / 127.5 - 1, jnp.float32)


def test_the_ends_of_the_variance_are_the_fixed_ones():
    t, x = jnp.array([1, 487, 999]), jnp.zeros((3, 1))
    for share, fixed in ((0.0, samplers.fixed_small), (1.0, samplers.fixed_large)):
        got = samplers.between(LINEAR, x, t, t - 1, share)
        np.testing.assert_allclose(got, fixed(LINEAR, x, t, t - 1), rtol=1e-5)
    first = [samplers.between(LINEAR, x[:1], jnp.array([0]), jnp.array([-1]), share) for share in (0.0, 1.0, 0.5)]
    np.testing.assert_allclose(np.ravel(first), [5.45318766e-5, 1e-4, np.sqrt(5.45318766e-9)], rtol=1e-3)


@pytest.mark.parametrize(("h", "variance"), [(-1.0, "small"), (1.0, "large")])
def test_at_the_ends_bound_and_samples_are_those_of_the_fixed_variances(h, variance):
    model, params, buffers = saying(h)
    plain = dataclasses.replace(TINY.ddpm, variance=variance).build(fields.images(SHAPE))
    plain = dataclasses.replace(plain, network=model.diffusion.network)
    inner, batch = {"denoiser": {}}, {"image": images(4)}
    bounds = [jax.jit(m.evidence)(params, b, jax.random.key(1), batch) for m, b in ((model, buffers), (plain, inner))]
    np.testing.assert_allclose(bounds[0].steps, bounds[1].steps, rtol=1e-4)
    if variance == "small":  # the decoder of the other has the variance of the first step
        np.testing.assert_allclose(bounds[0].total, bounds[1].total, rtol=1e-4)
    keys = jax.random.split(jax.random.key(2))  # of the noise, and of labels
    got = jax.jit(model.sample, static_argnums=3)(params, buffers, jax.random.key(2), 3)
    np.testing.assert_allclose(got, jax.jit(plain.sample, static_argnums=3)(params, inner, keys[0], 3), atol=1e-5)


def gradients(objective, h=0.3):
    model, params, buffers = saying(h)
    model = dataclasses.replace(model, objective=objective)
    loss = lambda params: model.loss(params, buffers, {"image": images()}, jax.random.key(0), step=0, ema=None)[0]  # noqa: E731
    return jax.jit(jax.grad(loss))(params)["denoiser"]


@pytest.mark.slow
def test_the_bounds_part_of_the_hybrid_does_not_move_the_mean():
    only_bound = gradients(HYBRID._replace(error=0.0))
    assert only_bound["f"] == 0 and only_bound["h"] != 0
    both, only_error = gradients(HYBRID), gradients(HYBRID._replace(bound=0.0))
    np.testing.assert_allclose(both["f"], only_error["f"], rtol=1e-6)
    assert only_error["h"] == 0
    assert gradients(Objective(0.0, 1.0, lambda f: f))["f"] != 0


@pytest.mark.slow
def test_the_loss_of_the_bound_is_the_bound():
    """Averaged over all times once, T L_t is the sum of the divergences and the decoder, in bits/dim."""
    model, params, buffers = saying(0.2, dataclasses.replace(TINY, objective="bound"))
    model = dataclasses.replace(model, diffusion=dataclasses.replace(model.diffusion, limit=float("inf")))
    batch = {"image": images(20)}
    keys = jax.random.split(jax.random.key(3), 200)
    loss = jax.jit(jax.vmap(lambda key: model.loss(params, buffers, batch, key, step=0, ema=None)[0]))(keys)
    bound = jax.jit(jax.vmap(lambda key: model.evidence(params, buffers, key, batch)))(keys[:50])
    expected = (bound.steps + bound.decoder).mean() / (64 * np.log(2))
    np.testing.assert_allclose(loss.mean(), expected, rtol=0.01)


@pytest.mark.slow
def test_the_network_is_evaluated_once_a_step():
    model = TINY.build(fields.images(SHAPE))
    params, buffers = jax.jit(lambda: model.init(jax.random.key(0), {}))()
    fixed = dataclasses.replace(model, reverse=None)
    flops = [
        jax.jit(m.sample, static_argnums=3).lower(params, buffers, jax.random.key(0), 2).compile().cost_analysis()
        for m in (model, fixed)
    ]
    assert flops[0]["flops"] < 1.1 * flops[1]["flops"]


def test_resampling_is_uniform_until_it_knows_every_time_and_unbiased_after():
    memory = LossSecondMoment(kept=3)
    update = jax.jit(memory.update)
    carried = update(memory.init(4), jnp.array([1, 1, 1, 1, 2]), jnp.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    np.testing.assert_array_equal(carried["losses"], [[0, 0, 0], [2, 3, 4], [0, 0, 5], [0, 0, 0]])
    np.testing.assert_array_equal(carried["count"], [0, 4, 1, 0])
    draw = jax.jit(functools.partial(memory.draw, n=4000, timesteps=4))
    t, weight = draw(carried, jax.random.key(0))
    np.testing.assert_array_equal(np.bincount(t), 1000)
    np.testing.assert_allclose(weight, 1.0)
    losses = jnp.array([1.0, 8.0, 0.5, 0.5])
    carried = update(carried, jnp.tile(jnp.arange(4), 3), jnp.tile(losses, 3))
    t, weight = draw(carried, jax.random.key(1))
    np.testing.assert_allclose(np.bincount(t) / 4000, 0.999 * losses / 10 + 0.001 / 4, atol=1e-3)
    np.testing.assert_allclose((weight * losses[t]).mean(), losses.mean(), rtol=1e-3)
    np.testing.assert_allclose(weight.mean(), 1.0, rtol=5e-3)


def test_the_memory_is_a_buffer_of_the_player():
    model, params, buffers = saying(0.0, dataclasses.replace(TINY, resampling="loss_second_moment"))
    _, aux = jax.jit(lambda b: model.loss(params, b, {"image": images()}, jax.random.key(0), step=0, ema=None))(buffers)
    assert aux.buffers["denoiser"]["seen"]["count"].sum() == 16
    assert jax.tree.structure(aux.buffers) == jax.tree.structure(buffers)
