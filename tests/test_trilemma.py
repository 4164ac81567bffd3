"""The comparison: what it writes, that it goes on where it stopped, and that it compares like with like."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments import trilemma
from experiments.launch import small_preset
from gen_jax.fields import images
from gen_jax.settings import ConfigError

FIELDS = {
    "model", "family", "parameters", "images_seen", "train_seconds", "compile_seconds", "sampling_seconds_per_1000",
    "network_evaluations", "frechet_distance", "precision", "recall", "density", "coverage", "score", "bits_per_dim",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("trilemma")
def test_the_whole_comparison(tmp_path, capsys):
    settings = trilemma.Settings(
        workdir=str(tmp_path), seconds_per_model=0.5, models=("gmm", "vae"), seeds=2, generated=60, likelihood_images=20
    )
    trilemma.main(settings)
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    report = json.loads((tmp_path / "trilemma.json").read_text())
    rows = {row["model"]: row for row in report["rows"]}
    assert list(rows) == [trilemma.HELD_OUT, "gmm", "vae"]
    for row in rows.values():
        assert row.keys() >= FIELDS
    real, vae, gmm = rows[trilemma.HELD_OUT], rows["vae"], rows["gmm"]
    assert real["frechet_distance"] < min(vae["frechet_distance"], gmm["frechet_distance"])
    assert real["parameters"] is None and real["bits_per_dim"] is None
    assert 0.5 <= vae["train_seconds"] < 5.0  # the clock ended it, one slow step at most too late
    assert vae["network_evaluations"] == 1
    assert vae["spread"]["frechet_distance"] > 0 and vae["likelihood"] == "lower bound"
    parameters = 10 * (1 + 64 + 64 * 64)  # weights, means and covariances of ten full components
    assert gmm["parameters"] == parameters and gmm["images_seen"] >= 1497
    assert report["protocol"]["metric"] == "FD-digits" and report["protocol"]["generated_size"] == 60
    assert {card["metric"] for card in report["cards"]} >= {"FD-digits", "precision", "coverage"}
    page = (tmp_path / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and page.count("data:image/png") >= 5
    assert Image.open(tmp_path / "report.png").size[0] > 1000

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    trilemma.main(replace(settings, models=("gmm",)))  # the same directory: what is done is not done again
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()} == before
    with pytest.raises(ConfigError, match="seconds_per_model"):
        trilemma.main(replace(settings, seconds_per_model=1.0))


def test_settings_that_make_no_sense_are_refused():
    for change, message in (
        ({"models": ("gan",)}, "unknown model 'gan'"),
        ({"seconds_per_model": 0.0}, "above 0"),
        ({"seeds": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(trilemma.Settings(), **change)


@pytest.mark.parametrize("side", [8, 28])
def test_every_contestant_has_a_preset_for_the_side(side):
    for contestant in trilemma.CONTESTANTS:
        settings = small_preset(contestant.experiment, side)
        model = settings.model.build(images((side, side, 1), 10))
        assert model.shape == (side, side, 1)
        assert np.prod(model.network_evaluations) >= 1
