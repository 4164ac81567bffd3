"""The comparison of priors and the pictures of latent spaces: grids, tables, and short runs of both."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import latent_maps, latent_priors
from experiments.latent_maps import grid, traversal
from experiments.latent_priors import PRIORS, markdown
from gen_jax.fields import REAL, Field
from gen_jax.settings import ConfigError


def test_a_map_is_even_over_the_middle_of_the_codes():
    codes = np.stack([np.linspace(-1, 1, 101), np.linspace(0, 10, 101)], axis=1)
    places = grid(codes, 3)
    np.testing.assert_allclose(places[:3], [[-0.96, 9.8], [0, 9.8], [0.96, 9.8]])  # the topmost row
    np.testing.assert_allclose(places[-3:, 1], [0.2] * 3)


def test_a_traversal_moves_one_latent_after_the_other():
    made = traversal(np.array([0.1, 0.2, 0.3]), np.array([2, 0]), 3)
    expected = [[0.1, 0.2, v] for v in (-2.5, 0, 2.5)] + [[v, 0.2, 0.3] for v in (-2.5, 0, 2.5)]
    np.testing.assert_allclose(made, expected)


def test_the_table_of_priors():
    figures = dict.fromkeys(("precision", "recall", "coverage"), 0.5) | {"frechet_distance": 3.14159, "detail": 0.75}
    rows = [{"prior": "reconstructions", **figures}]
    rows.append({"prior": "flow", **figures, "steps": 1200, "seconds_per_1000": 0.1234})
    assert markdown(rows, "FD-digits").splitlines()[2:] == [
        "| reconstructions | 3.14 | 0.50 | 0.50 | 0.50 | 0.75 |  |  |",
        "| flow | 3.14 | 0.50 | 0.50 | 0.50 | 0.75 | 1,200 | 0.12 |",
    ]


@pytest.mark.parametrize("name", PRIORS)
def test_every_entrant_is_a_prior_of_a_vector(name):
    model = PRIORS[name].prior.build({"latent": Field((5,), REAL)})
    assert model.makes == "latent"


@pytest.mark.slow
def test_the_same_command_goes_on_with_what_is_not_done(tmp_path, capsys):
    one = latent_priors.Settings(
        codec_seconds=0.5, seconds_per_prior=0.5, priors=("second VAE",), generated=60, workdir=str(tmp_path)
    )
    latent_priors.main(one)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    latent_priors.main(replace(one, priors=("second VAE", "mixture")))
    rows = json.loads((tmp_path / "priors.json").read_text())["rows"]
    assert [row["prior"] for row in rows] == ["reconstructions", "N(0, I)", "second VAE", "mixture"]
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (tmp_path / "priors.md").read_text() in capsys.readouterr().out
    with pytest.raises(ConfigError, match="choose another --workdir"):
        latent_priors.main(replace(one, generated=61))


@pytest.mark.slow
def test_maps_and_traversals_are_drawn(tmp_path):
    settings = latent_maps.Settings(
        betas=(1.0,), seconds_per_model=0.5, points=50, side=3, steps=3, latent=3, workdir=str(tmp_path)
    )
    for _ in range(2):
        latent_maps.main(settings)
        for name in ("maps.png", "traversals.png"):
            assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    row = json.loads((tmp_path / "maps.json").read_text())["rows"]["beta 1"]
    assert len(row["nats"]) == 3 and min(row["nats"]) >= 0 and 0 <= row["active"] <= 3
