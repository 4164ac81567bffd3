"""Every experiment for two steps on eight virtual devices, as a user would start it; run by `make experiments`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TWO = ["--steps", "2", "--batch-size", "16"]
COMMANDS = {
    "gmm": ["--steps", "2"],
    "points": ["--steps", "2"],
    "latent": [*TWO, "--codec-steps", "2"],
    "vae": TWO,
    "vqvae": [*TWO, "--preset", "digits", "--codec-steps", "2"],
    "maxout_gan": TWO,
    "cgan": TWO,
    "dcgan": TWO,
    "wgan": TWO,
    "d2gan": TWO,
    "improved_gan": TWO,
    "semi_supervised_gan": TWO,
    "unrolled_gan": TWO,
    "veegan": TWO,
    "stylegan": TWO,
    "stylegan2": TWO,
    "stylegan3": TWO,
    "progan": ["--steps", "2", "--batch-size", "16", "--data", "digits"],
    "ddpm": [*TWO, "--sampling-steps", "2"],
    "improved_ddpm": [*TWO, "--ddpm.sampling-steps", "2"],
    "score_sde": [*TWO, "--sampling-steps", "2"],
    "edm": [*TWO, "--sampling-steps", "2"],
    "flow_matching": [*TWO, "--sampling-steps", "2"],
    "vdm": [*TWO, "--sampling-steps", "2"],
    "consistency": TWO,
    "ddgan": TWO,
    "feature_network": TWO,
}

LAST = {"vqvae": "prior", "latent": "prior", "progan": "8"}  # of stages


@pytest.mark.parametrize("fsdp", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
def test_two_steps(name, fsdp, tmp_path):
    if name == "gmm" and fsdp:
        pytest.skip("a mixture has nothing to split")
    command = [sys.executable, "-m", f"experiments.{name}", *COMMANDS[name], "--workdir", str(tmp_path / name)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([*command, *["--fsdp"] * fsdp], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "step 2/2" in done.stderr
    assert (tmp_path / name / LAST.get(name, "") / "checkpoints" / "2").is_dir()
