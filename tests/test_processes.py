"""Real processes: killed and run again, and two of them training together."""

import json
import re
import signal
import time

import numpy as np
import pytest

from gen_jax.train.manifest import verify
from tests.processes import MODELS, finish, sha256, start, start_pair, wait_for


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_killed_run_ends_bit_identical(model, tmp_path):
    finish(start(model, tmp_path / "whole"))
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for rows in (5, 14):  # killed twice, at other phases of saving
        process = start(model, tmp_path / "killed")
        wait_for(process, lambda rows=rows: metrics.exists() and metrics.read_text().count("\n") >= rows)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(model, tmp_path / "killed"))
    assert sha256(tmp_path / "killed") == sha256(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 25))


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    process = start("vae", tmp_path / "run", "--steps", "100000")
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_for(process, lambda: metrics.exists() and metrics.read_text().count("\n") >= 4)
    process.send_signal(signal.SIGTERM)
    errors = finish(process, expected=143)
    assert "the same command goes on" in errors.splitlines()[-1] and "Traceback" not in errors
    done = len(metrics.read_text().splitlines())
    assert sha256(tmp_path / "run")[0] == done  # no step was lost


NO_MORE_FOLDERS = """
import os, runpy, sys
made = os.mkdir
def mkdir(path, *rest, **named):
    if "6.orbax-checkpoint-tmp" in os.fspath(path):
        raise OSError(28, "No space left on device", path)
    return made(path, *rest, **named)
os.mkdir = mkdir
runpy.run_module("experiments.vae", run_name="__main__")
"""


def test_a_failed_save_ends_the_process_and_the_checkpoint_before_it_is_good(tmp_path):
    process = start("vae", tmp_path, program=("-c", NO_MORE_FOLDERS))
    for line in process.stderr:
        assert "Traceback" not in line and "absl" not in line
        if line.startswith("error: "):
            break
    assert line.startswith(
        f"error: saving to {tmp_path / 'checkpoints'} failed: the disk is full, or the quota used up"
    )
    assert re.search(r"it needs [\d,]{5,} bytes, and [\d,]+ are free", line)
    began = time.monotonic()
    try:
        assert process.wait(timeout=30) == 73 and time.monotonic() - began < 10
    finally:
        process.kill()
        process.communicate()
    assert verify(tmp_path / "checkpoints" / "3") is None


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "number"), [(0, signal.SIGKILL), (1, signal.SIGSTOP)], ids=str)
def test_who_loses_another_process_ends_with_a_line_and_the_same_commands_go_on(lost, number, tmp_path):
    pair = start_pair(tmp_path / "pair", "--steps", "100000", "--lost-seconds", "5")
    wait_for(pair[0], (tmp_path / "pair" / "checkpoints" / "6" / "manifest.json").exists)
    pair[lost].send_signal(number)
    began = time.monotonic()
    errors = finish(pair[1 - lost], expected=76)
    assert time.monotonic() - began < 15
    assert errors.splitlines()[-1].startswith(f"error: process {lost} of 2 is lost or has stopped: ")
    assert "F1" not in errors and "@ " not in errors and "Traceback" not in errors
    pair[lost].kill()
    pair[lost].communicate()
    for process in start_pair(tmp_path / "pair", "--steps", "30"):
        finish(process)
    assert sha256(tmp_path / "pair")[0] >= 30


@pytest.mark.slow
def test_two_processes_train_and_save_together(tmp_path):
    for process in start_pair(tmp_path / "pair"):
        finish(process)
    finish(start("vae", tmp_path / "alone"))
    losses = [
        [json.loads(line)["vae/loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("pair", "alone")
    ]
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)  # the same data and the same noise
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert sha256(tmp_path / "pair")[0] == 24  # one process reads what two have written
    finish(start("vae", tmp_path / "pair", "--steps", "27"))  # and goes on alone
    assert sha256(tmp_path / "pair")[0] == 27


@pytest.mark.slow
def test_a_run_killed_in_its_last_measurement_is_measured_by_the_same_command(tmp_path):
    options = ["--evaluate-every", "24", "--evaluate-images", "20000", "--metrics", "fid"]
    process = start("vae", tmp_path, *options)
    wait_for(process, (tmp_path / "checkpoints" / "24" / "manifest.json").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "owed.json").exists() and not (tmp_path / "evaluation.jsonl").exists()
    finish(start("vae", tmp_path, *options))
    assert [json.loads(line)["step"] for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()] == [24]
    assert (tmp_path / "samples" / "00000024.png").exists() and not (tmp_path / "owed.json").exists()
