"""Experiments as processes of their own: small models, started, waited for and looked at; for tests and the soak."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMON = ["--steps", "24", "--batch-size", "8", "--log-every", "1", "--checkpoint-every", "3"]
DDPM = "--net.channels 8 --net.multipliers 1 2 --net.blocks 1 --net.attention 4 --sampling-steps 2"
MODELS = {
    "vae": ["--latent", "2", "--widths", "4", "--dense", "8"],
    "dcgan": ["--net.channels", "4", "--net.latent", "4"],
    "ddpm": DDPM.split(),
}
NOTHING: Mapping[str, str] = {}
STUCK = """
import itertools, runpy, time
from gen_jax import data
iterate = data.Batches.iterate
def stuck(self, start):
    yield from itertools.islice(iterate(self, start), 8)
    time.sleep(600)
data.Batches.iterate = stuck
runpy.run_module("experiments.vae", run_name="__main__")
"""  # an experiment whose reader stops


def environment():
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    cache = str(ROOT / ".pytest_cache" / "xla")
    return {**kept, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache}


def start(model, workdir, *extra, program=(), env=NOTHING, prefix=(), **options):
    program = program or ("-m", f"experiments.{model}")
    command = [*prefix, sys.executable, *program, *COMMON, *MODELS[model], "--workdir", str(workdir), *extra]
    options = {"cwd": ROOT, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, **options}
    return subprocess.Popen(command, env={**environment(), **env}, **options)


def start_pair(workdir, *extra):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
    return [start("vae", workdir, *address, *extra, "--process", str(index)) for index in range(2)]


def finish(process, expected=0):
    _, errors = process.communicate(timeout=240)
    assert process.returncode == expected, errors
    return errors


def described(workdir, env=NOTHING):
    command = [sys.executable, "-m", "gen_jax", "info", str(workdir), "--json"]
    return json.loads(subprocess.check_output(command, cwd=ROOT, env={**environment(), **env}, text=True))


def sha256(workdir, env=NOTHING):
    found = described(workdir, env)
    return found["step"], found["state_sha256"]


def wait_for(process, condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
