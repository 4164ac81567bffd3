"""The comparison of processes: its ways to draw, its table, and what an earlier call has left."""

import json
from dataclasses import replace
from typing import Any

import pytest

from experiments import processes
from experiments.processes import PROCESSES, Settings, Way, drawing, markdown
from gen_jax.fields import images, to_json
from gen_jax.run import Run
from gen_jax.settings import ConfigError

EVALUATIONS = {
    "DDPM": [500, 50, 20, 20, 20],
    "VP": [100, 50, 100, 20, 19, 20, 20],
    "sub-VP": [100, 50, 100, 20, 19, 20, 20],
    "VE": [100, 50, 100, 20, 19, 20, 20],
    "EDM": [35, 100, 20, 19, 20, 20],
    "rectified flow": [100, 20, 20, 19, 20, 20],
    "VDM": [100, 50],
    "consistency": [1, 2, 2],
}


def _run(name):
    process = PROCESSES[name]
    configuration: Any = replace(process.experiment.PRESETS["digits"].model, **process.changes)
    fields = images((8, 8, 1))
    return Run(configuration.build(fields), configuration, {}, {}, 0, {"fields": to_json(fields)})


@pytest.mark.parametrize("name", PROCESSES)
def test_every_way_takes_the_evaluations_that_its_row_says(name):
    run = _run(name)
    assert [drawing(run, way).network_evaluations for way in PROCESSES[name].ways] == EVALUATIONS[name]


def test_a_chain_has_no_times_between_its_times():
    with pytest.raises(ConfigError, match="continuous time"):
        drawing(_run("DDPM"), Way("UniPC 2", 20))


def test_the_table_says_what_a_process_is_once():
    row = {"process": "EDM", "steps": 2000, "generated": 100, "sampler": "Heun", "evaluations": 35, "seconds": 0.5}
    row |= {"frechet_distance": 3.14159, "coverage": 0.25}
    first = row | {"bits_per_dim": 2.5, "bits_error": 0.04, "likelihood": "estimate"}
    bound = first | {"process": "VDM", "likelihood": "lower bound"}
    lines = markdown([first, first | {"sampler": "DDIM"}, bound], "FD-digits").splitlines()
    assert "FD-digits" in lines[0] and len(lines) == 5
    assert lines[2] == "| EDM, 2,000 steps | 2.50 ± 0.04 | Heun | 35 | 3.14 | 0.250 |"
    assert lines[3] == "|  |  | DDIM | 35 | 3.14 | 0.250 |"
    assert "2.50 ± 0.04, bound" in lines[4]
    assert len({line.count("|") for line in lines}) == 1


def test_an_unknown_process_is_refused():
    with pytest.raises(ValueError, match="unknown process 'EMD'; there are DDPM"):
        Settings(processes=("EMD",))


@pytest.mark.slow
def test_the_same_command_goes_on_with_what_is_not_done(tmp_path, monkeypatch, capsys):
    for name in ("EDM", "consistency"):
        monkeypatch.setitem(PROCESSES, name, PROCESSES[name]._replace(ways=PROCESSES[name].ways[:1]))
    one = Settings(seconds_per_process=1, workdir=str(tmp_path), processes=("EDM",), generated=8, likelihood_images=2)
    processes.main(one)
    alone = json.loads((tmp_path / "processes.json").read_text())
    part = tmp_path / "parts" / "edm.json"
    written = part.stat().st_mtime_ns
    processes.main(replace(one, processes=("EDM", "consistency")))
    both = json.loads((tmp_path / "processes.json").read_text())
    assert part.stat().st_mtime_ns == written and both["rows"][:1] == alone["rows"]
    assert [row["process"] for row in both["rows"]] == ["EDM", "consistency"]
    assert alone["rows"][0]["bits_per_dim"] > 0 and "bits_per_dim" not in both["rows"][1]
    assert (tmp_path / "processes.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "processes.md").read_text() in capsys.readouterr().out
    with pytest.raises(ConfigError, match="choose another --workdir"):
        processes.main(replace(one, generated=9))
