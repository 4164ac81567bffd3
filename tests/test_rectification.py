"""Rectification where the flow is known: data N(0, SPREAD^2), which the exact flow makes of noise as SPREAD eps."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.diffusion.precondition import Inputs
from gen_jax.fields import images
from gen_jax.models import FlowMatchingConfig, Rectification, RectificationConfig
from gen_jax.models.rectification import curvature, transported
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network, players

SHAPE, SPREAD = (8, 8, 1), 0.3
CONFIGURATION = RectificationConfig(
    FlowMatchingConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1), sampling_steps=200)
)


def curved(x, t):
    """E[eps - x_0 | x_t] of independent pairs."""
    a, b = (1 - t) * SPREAD, t
    return x * ((b - a * SPREAD) / (a**2 + b**2))[:, None, None, None]


def straight(x, t):
    """Eps - x_0 at x_t of the pairs (SPREAD eps, eps)."""
    return x * ((1 - SPREAD) / ((1 - t) * SPREAD + t))[:, None, None, None]


def game():
    """Networks are ``(1 - p) curved + p straight``: the teacher's p is 0, the student's free."""

    def apply(p, buffers, x, t, *_, **__):
        return (1 - p) * curved(x, t) + p * straight(x, t), buffers

    plain = Inputs(lambda process, t: jnp.ones(()), lambda process, t: t)
    model = CONFIGURATION.build(images(SHAPE))
    net = Network(lambda key: (jnp.zeros(()), {}), apply)
    return Rectification(
        *(dataclasses.replace(part, network=net, inputs=plain) for part in (model.teacher, model.student))
    )


def test_the_straight_student_has_no_loss_and_needs_one_step():
    model = game()
    params, buffers = model.init(jax.random.key(0), {})
    batch = {"image": jnp.zeros((64, *SHAPE))}  # not looked at
    loss = jax.jit(
        lambda p: model.loss({**params, "student": p}, buffers, batch, jax.random.key(1), step=0, ema=None)[0]
    )
    assert players(model.turns) == ("student",) and model.network_evaluations == 1
    assert loss(1.0) < 1e-4 < 0.01 * loss(0.0)
    noise = jax.random.normal(jax.random.key(2), (4, *SHAPE))
    taught = model.learned({**params, "student": jnp.ones(())}, buffers)
    np.testing.assert_allclose(transported(model.student, *taught, noise), SPREAD * noise, rtol=1e-5)
    first = transported(model.teacher, *model.learned(params, buffers), noise)
    np.testing.assert_allclose(first, SPREAD * noise, rtol=0.02)  # Euler's rule on a curved flow


def test_curvature_is_that_of_the_paths():
    """S = E_t (v(x_t, t) - (1 - s) eps)^2 on x_t = ((1 - t) s + t) eps, by the midpoint rule in t."""
    model = game()
    t = (np.arange(10_000) + 0.5) / 10_000
    along = (1 - t) * SPREAD + t
    slope = (t - (1 - t) * SPREAD**2) / ((1 - t) ** 2 * SPREAD**2 + t**2)
    expected = np.mean((along * slope - (1 - SPREAD)) ** 2)
    for p, wanted in ((0.0, expected), (1.0, 0.0)):
        params = {"denoiser": jnp.asarray(p)}
        run = jax.jit(lambda params: curvature(model.teacher, params, {"denoiser": {}}, jax.random.key(0), 256))
        np.testing.assert_allclose(run(params), wanted, rtol=0.05, atol=1e-3)


def test_its_configuration_is_plain_data():
    plain = json.loads(json.dumps(dataclasses.asdict(CONFIGURATION)))
    assert RectificationConfig(**plain) == CONFIGURATION
    guided = dataclasses.replace(CONFIGURATION.teacher, conditional=True, guidance=2.0)
    model = dataclasses.replace(CONFIGURATION, teacher=guided, sampling_steps=3).build(images(SHAPE, 2))
    assert (model.teacher.guidance, model.student.guidance, model.network_evaluations) == (2.0, 1.0, 3)
    with pytest.raises(ValueError, match="sampling_steps: expected 1 to 100000"):
        dataclasses.replace(CONFIGURATION, sampling_steps=0).build(images(SHAPE))
