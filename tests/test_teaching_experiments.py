"""Experiments whose student learns from a run on disk, as commands: what they need, and what they leave."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import gen_jax

ROOT = Path(__file__).parent.parent
TINY = ["--net.channels", "4", "--net.multipliers", "1", "--net.blocks", "1"]
TWO = ["--steps", "2", "--batch-size", "16"]


def command(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("rectification", ["--teacher", "nowhere"], "nowhere holds no run"),
        ("distillation", ["--teacher", "nowhere"], "nowhere holds no run"),
        ("distillation", ["--sampling-steps", "12"], "powers of two"),
        ("consistency", ["--task", "distillation"], "--teacher DIRECTORY, or neither"),
    ],
)
def test_what_is_missing_is_said_in_one_line(name, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--workdir", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module(f"experiments.{name}", run_name="__main__")
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "student", "own"),
    [
        ("flow_matching", "rectification", ["--pair-steps", "2"]),
        ("ddpm", "distillation", ["--sampling-steps", "4"]),
        ("edm", "consistency", [*TINY, "--task", "distillation"]),
    ],
)
def test_a_student_learns_from_a_run_on_disk(teacher, student, own, tmp_path):
    taught = tmp_path / "teacher"
    done = command(teacher, *TINY, *TWO, "--sampling-steps", "2", "--workdir", str(taught))
    assert done.returncode == 0, done.stderr
    places = ["--teacher", str(taught), "--workdir", str(tmp_path / "student")]
    for _ in range(2):  # the second time there is nothing left to do
        done = command(student, *own, *TWO, *places)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "student"
    runs = [folder / "2_steps", folder / "1_steps"] if student == "distillation" else [folder]
    for run in runs:
        assert gen_jax.load(run).sample(0, 2).shape == (2, 8, 8, 1)
    if student != "consistency":
        wrong = command(student, "--teacher", str(runs[0]), "--workdir", str(tmp_path / "wrong"))
        assert wrong.returncode == 2 and "give --teacher" in wrong.stderr
