"""The comparison of samplers: the times it visits, and what it refuses."""

import itertools

import jax
import numpy as np
import pytest

import gen_jax
from experiments.samplers import SAMPLERS, continuous, draw, markdown, visited, write_picture
from gen_jax import Training
from gen_jax.diffusion import times
from gen_jax.fields import images
from gen_jax.models import DDPMConfig, EDMConfig, FlowMatchingConfig, ScoreSDEConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.settings import ConfigError

SHAPE = (8, 8, 1)


def test_edm_visits_its_own_noises():
    model = EDMConfig(sampling_steps=18).build(images(SHAPE))
    np.testing.assert_allclose(visited(model, 18), model.times, rtol=1e-4)
    np.testing.assert_allclose(visited(model, 5), times.karras(80.0, 0.002, 5), rtol=1e-4)


@pytest.mark.parametrize("configuration", [ScoreSDEConfig(), ScoreSDEConfig(path="ve"), FlowMatchingConfig()])
def test_others_begin_and_end_where_they_do(configuration):
    model = configuration.build(images(SHAPE))
    got = visited(model, 10)
    assert got.shape == (11,) and (np.diff(got) < 0).all()
    np.testing.assert_allclose(got[[0, -1]], model.times[[0, -1]], atol=2e-3)


OTHERS = set(SAMPLERS) - {"Heun with churn", "DPM-Solver++ 2M", "UniPC 3", "reverse diffusion"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in OTHERS)) for n in SAMPLERS])
def test_every_sampler_draws_normal_data_in_single_precision(name):
    model = EDMConfig().build(images(SHAPE))
    entry = SAMPLERS[name]
    when = visited(model, entry.steps(257))
    x = 80 * jax.random.normal(jax.random.key(0), (500, 64))
    denoise = lambda x, t: x * (0.25 / (0.25 + t**2))[:, None]  # noqa: E731
    got = jax.jit(lambda x: entry.sampler(model.process, denoise, when, jax.random.key(1), x))(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.std(), 0.5, rtol=0.06)


@pytest.mark.slow
def test_every_sampler_draws_images_of_its_own(tmp_path):
    """From one run, on disk."""
    images = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), dtype=np.uint8)
    configuration = EDMConfig(net=Denoiser(channels=4, multipliers=(1,), blocks=1))
    gen_jax.fit(configuration, images, training=Training(steps=1, batch_size=8), directory=tmp_path, quiet=True)
    run = gen_jax.load(tmp_path)
    drawn = {name: draw(run, continuous(run, name, 9), 3, 0) for name in SAMPLERS}
    pairs = itertools.combinations([image for image, _ in drawn.values()], 2)
    assert all((a != b).any() for a, b in pairs)
    assert all(image.shape == (3, *SHAPE) and seconds > 0 for image, seconds in drawn.values())


def test_the_picture_and_the_table_show_every_sampler(tmp_path):
    rows = [
        {"sampler": name, "evaluations": n, "frechet_distance": 9.0 / n, "coverage": n / 9}
        for name in ("DDIM", "Heun")
        for n in (5, 9)
    ]
    write_picture(tmp_path / "all.png", {"run": "it", "generated": 2, "reference": 3, "metric": "FD", "rows": rows})
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    lines = markdown(rows, "FD").splitlines()
    assert lines[0] == "| FD / coverage | 5 | 9 |" and lines[3] == "| Heun | 1.80 / 0.56 | 1.00 / 1.00 |"


def test_a_chain_is_refused():
    with pytest.raises(ConfigError, match="continuous time"):
        visited(DDPMConfig(timesteps=20, sampling_steps=5).build(images(SHAPE)), 5)


def test_every_sampler_keeps_to_its_evaluations():
    evaluations = {"Heun": lambda s: 2 * s - 1, "DPM-Solver++ 2S": lambda s: 2 * s - 1}
    evaluations |= {"Heun with churn": evaluations["Heun"], "predictor and corrector": lambda s: 2 * s}
    for name, entry in SAMPLERS.items():
        for budget in (5, 9, 33):
            assert evaluations.get(name, lambda s: s)(entry.steps(budget)) <= budget
