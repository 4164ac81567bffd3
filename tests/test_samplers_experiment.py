"""The comparison of samplers: the times it visits, and what it refuses."""

import jax
import numpy as np
import pytest

from experiments.samplers import SAMPLERS, visited
from gen_jax.diffusion import times
from gen_jax.models import DDPMConfig, EDMConfig, FlowMatchingConfig, ScoreSDEConfig
from gen_jax.run import ConfigError

SHAPE = (8, 8, 1)


def test_edm_visits_its_own_noises():
    model = EDMConfig(sampling_steps=18).build(SHAPE, 0)
    np.testing.assert_allclose(visited(model, 18), model.times, rtol=1e-4)
    np.testing.assert_allclose(visited(model, 5), times.karras(80.0, 0.002, 5), rtol=1e-4)


@pytest.mark.parametrize("configuration", [ScoreSDEConfig(), ScoreSDEConfig(path="ve"), FlowMatchingConfig()])
def test_others_begin_and_end_where_they_do(configuration):
    model = configuration.build(SHAPE, 0)
    got = visited(model, 10)
    assert got.shape == (11,) and (np.diff(got) < 0).all()
    np.testing.assert_allclose(got[[0, -1]], model.times[[0, -1]], atol=2e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_normal_data_in_single_precision(name):
    model = EDMConfig().build(SHAPE, 0)
    entry = SAMPLERS[name]
    when = visited(model, entry.steps(257))
    x = 80 * jax.random.normal(jax.random.key(0), (500, 64))
    denoise = lambda x, t: x * (0.25 / (0.25 + t**2))[:, None]  # noqa: E731
    got = jax.jit(lambda x: entry.sampler(model.process, denoise, when, jax.random.key(1), x))(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.std(), 0.5, rtol=0.06)


def test_a_chain_is_refused():
    with pytest.raises(ConfigError, match="continuous time"):
        visited(DDPMConfig(timesteps=20, sampling_steps=5).build(SHAPE, 0), 5)


def test_every_sampler_keeps_to_its_evaluations():
    evaluations = {"Heun": lambda s: 2 * s - 1, "DPM-Solver++ 2S": lambda s: 2 * s - 1}
    evaluations |= {"Heun with churn": evaluations["Heun"], "predictor and corrector": lambda s: 2 * s}
    for name, entry in SAMPLERS.items():
        for budget in (5, 9, 33):
            assert evaluations.get(name, lambda s: s)(entry.steps(budget)) <= budget
