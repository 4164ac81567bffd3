"""Real processes: killed and run again, and two of them training together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gen_jax.train.manifest import verify

ROOT = Path(__file__).parent.parent
COMMON = ["--steps", "24", "--batch-size", "8", "--log-every", "1", "--checkpoint-every", "3"]
MODELS = {
    "vae": ["--latent", "2", "--widths", "4", "--dense", "8"],
    "dcgan": ["--net.channels", "4", "--net.latent", "4"],
    "ddpm": [
        "--net.channels",
        "8",
        "--net.multipliers",
        "1",
        "2",
        "--net.blocks",
        "1",
        "--net.attention",
        "4",
        "--sampling-steps",
        "2",
    ],
}


def environment():
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    cache = str(ROOT / ".pytest_cache" / "xla")
    return {**kept, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache}


def start(model, workdir, *extra, program=()):
    program = program or ("-m", f"experiments.{model}")
    command = [sys.executable, *program, *COMMON, *MODELS[model], "--workdir", str(workdir), *extra]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)


def finish(process, expected=0):
    _, errors = process.communicate(timeout=240)
    assert process.returncode == expected, errors
    return errors


def sha256(workdir):
    command = [sys.executable, "-m", "gen_jax", "info", str(workdir), "--json"]
    described = json.loads(subprocess.check_output(command, cwd=ROOT, env=environment(), text=True))
    return described["step"], described["state_sha256"]


def wait_for(process, condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=[pytest.mark.slow] if model != "vae" else []) for model in MODELS]
)
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
        if line.startswith("error: "):
            break
    assert line.startswith(f"error: saving to {tmp_path / 'checkpoints'} failed: [Errno 28] No space left on device")
    began = time.monotonic()
    try:
        assert process.wait(timeout=30) == 74 and time.monotonic() - began < 10
    finally:
        process.kill()
        process.communicate()
    assert verify(tmp_path / "checkpoints" / "3") is None


@pytest.mark.slow
def test_two_processes_train_and_save_together(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
    pair = [start("vae", tmp_path / "pair", *address, "--process", str(index)) for index in range(2)]
    for process in pair:
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
