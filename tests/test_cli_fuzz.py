"""Command lines that nobody would type: each is taken, or refused in one line with status 2, and nothing is written."""

import contextlib
import random

import pytest

from experiments import launch
from gen_jax import cli
from tests.test_cli import EXPERIMENTS, run

VALUES = (
    "nan", "inf", "-inf", "-1", "0", "1", "3.5", "1e400", "-0.0", "9" * 20, "9" * 400, "", "x", "-", "--", "[]", "None",
    "True", "2", "0.5", "\u0663", "a=b", "\u00e9\n", "/", "cosine", "bfloat16", "1_000", "0x10", " 5 ", "1e3", "../x",
    "\ufffd",
)  # fmt: skip


def _line(rng, flags):
    """One or two flags, some of them misspelt, with values that some of them lack."""
    for flag in rng.sample(flags, rng.choice([1, 1, 2])):
        flag = rng.choice([flag, flag, flag, flag, flag[:-1], f"{flag}z"])
        value = rng.choice(VALUES)
        yield from rng.choice([[f"{flag}={value}"], [flag, value], [flag, value], [flag]])


@pytest.mark.parametrize("number", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_command_line_is_taken_or_refused_in_one_line(number, tmp_path, capsys, monkeypatch):
    rng, taken, refused = random.Random(number), [], 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "train", lambda settings, *, title: taken.append(settings))
    monkeypatch.setattr(launch, "_joined", lambda place: contextlib.nullcontext())
    for _ in range(number):
        name = rng.choice(list(EXPERIMENTS))
        preset = rng.choice(list(EXPERIMENTS[name].PRESETS))
        line = list(_line(rng, cli._flags(EXPERIMENTS[name].PRESETS[preset])))
        before = len(taken)
        status, errors = run(["--preset", preset, *line], capsys, monkeypatch, name)
        if len(taken) > before:
            assert status == 0 and not errors, (name, line, errors)
        else:
            refused += 1
            assert status == 2 and len(errors) == 1 and errors[0].startswith("error: "), (name, line, errors)
    assert len(taken) > number / 20 and refused > number / 2 and not list(tmp_path.iterdir())
