"""The comparison: what it writes, that it goes on where it stopped, and that it compares like with like."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments import compare_gans, comparison, trilemma
from experiments.comparison import Settings, compare
from experiments.comparison_table import HELD_OUT
from experiments.launch import small_preset
from gen_jax import DivergedError
from gen_jax.fields import images
from gen_jax.settings import ConfigError

FIELDS = {
    "model", "family", "parameters", "images_seen", "train_seconds", "compile_seconds", "sampling_seconds_per_1000",
    "network_evaluations", "frechet_distance", "precision", "recall", "density", "coverage", "score", "bits_per_dim",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("trilemma")
def test_the_whole_comparison(tmp_path, capsys):
    settings = replace(
        trilemma.PRESETS["small"],
        workdir=str(tmp_path),
        seconds_per_model=0.5,
        models=("gmm", "vae"),
        seeds=2,
        generated=60,
        likelihood_images=20,
    )
    compare(trilemma.COMPARISON, settings)
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    report = json.loads((tmp_path / "trilemma.json").read_text())
    rows = {row["model"]: row for row in report["rows"]}
    assert list(rows) == [HELD_OUT, "gmm", "vae"]
    for row in rows.values():
        assert row.keys() >= FIELDS
    real, vae, gmm = rows[HELD_OUT], rows["vae"], rows["gmm"]
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
    compare(
        trilemma.COMPARISON, replace(settings, models=("gmm",))
    )  # the same directory: what is done is not done again
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()} == before
    with pytest.raises(ConfigError, match="seconds_per_model"):
        compare(trilemma.COMPARISON, replace(settings, seconds_per_model=1.0))


def test_settings_that_make_no_sense_are_refused():
    for change, message in (
        ({"seconds_per_model": 0.0}, "seconds_per_model: expected above 0"),
        ({"seeds": 0}, "seeds: expected 1 or more"),
        ({"generated": 1}, "generated: expected 2 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Settings(**change)
    with pytest.raises(ValueError, match=r"expected names of gmm, vae, .*, got 'gan'"):
        compare(trilemma.COMPARISON, Settings(models=("gan",)))


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("contest", [trilemma.COMPARISON, compare_gans.COMPARISON], ids=lambda c: c.name)
def test_every_contestant_has_a_preset_for_the_side(contest, side):
    for contestant in contest.contestants:
        settings = small_preset(contestant.experiment, side)
        model = settings.model.build(images((side, side, 1), 10))
        assert model.makes == "image"
        assert np.prod(model.network_evaluations) >= 1


@pytest.mark.slow
def test_a_training_that_diverges_is_a_failure_among_the_others(tmp_path, monkeypatch):
    def diverging(contestant, source, *, seconds, seed, directory):
        if seed == 1:
            raise DivergedError(3, "loss", "generator", "nan")
        return trained(contestant, source, seconds=seconds, seed=seed, directory=directory)

    trained = comparison.train
    monkeypatch.setattr(comparison, "train", diverging)
    small = replace(
        trilemma.PRESETS["small"],
        workdir=str(tmp_path), seconds_per_model=0.1, models=("gmm",), seeds=2, generated=20, likelihood_images=2,
    )  # fmt: skip
    compare(trilemma.COMPARISON, small)
    (row,) = [each for each in json.loads((tmp_path / "trilemma.json").read_text())["rows"] if each["model"] == "gmm"]
    assert row["failed"] == 0.5 and row["frechet_distance"] > 0 and row["spread"]["frechet_distance"] is None
