"""The comparison of modes: its table, and one short run of it."""

import json

import pytest

from experiments import compare_modes
from experiments.compare_modes import ENTRANTS, Settings, main, markdown
from gen_jax.protocol import players


def test_the_table_has_means_and_deviations():
    runs = [{"found": 8, "good": 0.5, "reverse_kl": 0.0}, {"found": 6, "good": 0.9, "reverse_kl": float("inf")}]
    rows = [{"data": "ring", "model": "GAN", "runs": runs}, {"data": "grid", "model": "VEEGAN", "runs": runs[:1]}]
    assert markdown(rows).splitlines()[2:] == [
        "| ring | GAN | 2 | 7 ± 1.4 | 0.7 ± 0.28 | inf |",
        "| grid | VEEGAN | 1 | 8 | 0.5 | 0 |",
    ]


def test_every_entrant_has_an_optimizer_for_each_of_its_players():
    fields = compare_modes.data.load("ring").fields
    for entrant in ENTRANTS.values():
        assert set(entrant.optimizers) == set(players(entrant.model.build(fields).turns))


@pytest.mark.slow
def test_a_short_run_writes_the_table_and_is_not_done_twice(tmp_path, capsys):
    settings = Settings(
        data=("ring",), models=("GAN", "VEEGAN"), seeds=2, steps=3, batch_size=16, workdir=str(tmp_path)
    )
    main(settings)
    first, rows = capsys.readouterr().out, json.loads((tmp_path / "modes.json").read_text())["rows"]
    assert [len(row["runs"]) for row in rows] == [2, 2] and first.endswith((tmp_path / "modes.md").read_text())
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("manifest*")}
    main(settings)
    assert stamps and stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("manifest*")}
    assert capsys.readouterr().out.endswith(first[-len((tmp_path / "modes.md").read_text()) :])
