"""Every experiment for two steps on eight virtual devices, as a user would start it; run by `make experiments`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gen_jax.data import DataError, texts

ROOT = Path(__file__).parent.parent
TWO = ["--steps", "2", "--batch-size", "16"]
COMMANDS = {
    "gmm": ["--steps", "2"],
    "hmm": ["--steps", "2"],
    "lda": ["--steps", "2"],
    "points": ["--steps", "2"],
    "latent": [*TWO, "--codec-steps", "2"],
    "autoencoder": TWO,
    "vae": TWO,
    "residual_vae": [*TWO, "--codec-steps", "2"],
    "nvae": TWO,
    "flow": TWO,
    "vqvae": [*TWO, "--preset", "digits", "--codec-steps", "2"],
    "vqvae2": [*TWO, "--codec-steps", "2"],
    "vqgan": [*TWO, "--preset", "digits", "--codec-steps", "2"],
    "vae_gan": TWO,
    "maxout_gan": TWO,
    "cgan": TWO,
    "dcgan": TWO,
    "wgan": TWO,
    "wgan_gp": TWO,
    "sngan": TWO,
    "r3gan": TWO,
    "cyclegan": [*TWO, "--held-out", "8"],
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
SPLIT = ("vae", "vqvae", "dcgan", "ddpm", "ddgan")  # one of each sort of networks, with --fsdp besides
NEEDS = {"hmm": texts.letters, "lda": texts.newsgroups}  # texts that not every machine has
WITHIN = {
    "vqvae": "prior",
    "vqvae2": "bottom",
    "vqgan": "prior",
    "latent": "prior",
    "residual_vae": "prior",
    "cyclegan": "cyclegan",
    "progan": "8",
}
"""Where the last run of an experiment of several is."""


@pytest.mark.parametrize(("name", "fsdp"), [*((n, False) for n in COMMANDS), *((n, True) for n in SPLIT)])
def test_two_steps(name, fsdp, tmp_path):
    if name in NEEDS:
        try:
            NEEDS[name]("train")
        except DataError as error:
            pytest.skip(str(error))
    command = [sys.executable, "-m", f"experiments.{name}", *COMMANDS[name], "--workdir", str(tmp_path / name)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([*command, *["--fsdp"] * fsdp], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "step 2/2" in done.stderr
    assert (tmp_path / name / WITHIN.get(name, "") / "checkpoints" / "2").is_dir()
