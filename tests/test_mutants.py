"""Thirteen mistakes that have made published distances wrong, each made in a copy of the package for the suite to see.

Every mutant is one change of one line or two, with the tests that should fail. The same tests pass on a copy that was
not changed, so that what fails is the mutant.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Mutant(NamedTuple):
    """A mistake: in which file, what becomes what, and the tests that must see it."""

    file: str
    before: str
    after: str
    tests: str
    chosen: str


MUTANTS = {
    "1: images are resized without antialiasing": Mutant(
        "data/picture.py", "Image.Resampling.BICUBIC", "Image.Resampling.NEAREST", "test_data.py", "resize"
    ),
    "1: Inception's images are resized with other corners": Mutant(
        "networks/inception.py", "jnp.arange(SIDE, dtype=jnp.float32) * jnp.float32(side / SIDE)",
        "jnp.maximum((jnp.arange(SIDE) + 0.5) * (side / SIDE) - 0.5, 0.0)",
        "test_inception.py", "resize or reference",
    ),
    "2: images are written as JPEG": Mutant(
        "__main__.py", '{index:06d}.png"', '{index:06d}.jpg"', "test_cli.py", "train_sample_evaluate"
    ),
    "3: the feature network is in training mode": Mutant(
        "evaluate/features.py", "method=Classifier.features)", "method=Classifier.features, train=True)",
        "test_evaluate_features.py", "do_not_depend_on_batch",
    ),
    "4: images in [0, 1] where they should be in [-1, 1]": Mutant(
        "evaluate/features.py", 'prepare({"image": images})["image"]', 'prepare({"image": images})["image"] / 2 + 0.5',
        "test_evaluate_features.py", "same_network",
    ),
    "5: covariance in one pass": Mutant(
        "evaluate/moments.py", "return Moments(len(block), mean + rest, deviations.T @ deviations)",
        "x = block.astype(np.float64); return Moments(len(x), mean + rest, x.T @ x - len(x) * np.outer(mean, mean))",
        "test_evaluate_metrics.py", "moments_are_those or gaussians",
    ),
    "5: moments in float32": Mutant(
        "evaluate/moments.py", "block.astype(np.float64) - mean", "block.astype(np.float32) - mean.astype(np.float32)",
        "test_evaluate_metrics.py", "moments_are_those or gaussians",
    ),
    "6: roots of what rounding has made negative": Mutant(
        "evaluate/frechet.py", "product = _factor(a).T @ _factor(b)",
        "return float(np.sqrt(np.linalg.eigvals(a @ b).real).sum())\n    product = a",
        "test_evaluate_metrics.py", "frechet",
    ),
    "6: the factors of a singular covariance": Mutant(
        "evaluate/frechet.py", "product = _factor(a).T @ _factor(b)",
        "product = np.linalg.cholesky(a).T @ np.linalg.cholesky(b)", "test_evaluate_metrics.py", "frechet",
    ),
    "7: too few images are not said": Mutant(
        "evaluate/frechet.py", "if x.n < width:", "if False:", "test_evaluate_metrics.py", "refuses_and_warns"
    ),
    "7: one image is enough": Mutant(
        "evaluate/frechet.py", "if x.n < 2:", "if x.n < 1:", "test_evaluate_metrics.py", "refuses_and_warns"
    ),
    "8: covariance over n": Mutant(
        "evaluate/moments.py", "self.scatter / (self.n - 1)", "self.scatter / self.n",
        "test_evaluate_metrics.py", "unbiased or gaussians",
    ),
    "9: the padding of the last batch is counted": Mutant(
        "evaluate/features.py", "padded = -(-size // len(devices)) * len(devices)",
        "images = np.pad(images, [(0, -len(images) % len(devices))] + [(0, 0)] * 3)\n        padded = len(images)",
        "test_evaluate_statistics.py", "batch_or_its_padding",
    ),
    "9: the last batch is dropped": Mutant(
        "evaluate/sets.py", "for start in range(0, len(examples), size):",
        "for start in range(0, len(examples) // size * size, size):",
        "test_evaluate_statistics.py", "batch_or_its_padding",
    ),
    "10: one device's features for all": Mutant(
        "evaluate/features.py", "kept = np.asarray(features)[: len(examples)]",
        "part = np.asarray(features.addressable_shards[0].data)\n"
        "            kept = np.resize(part, features.shape)[: len(examples)]",
        "test_evaluate_statistics.py", "number_of_devices",
    ),
    "11: the last weights instead of their average": Mutant(
        "fitting.py", "average, step = state.ema,",
        'average, step = {"params": state.params, "buffers": state.buffers},',
        "test_evaluate_command.py", "measuring_during_training",
    ),
    "12: blue, green, red": Mutant(
        "data/picture.py", 'strip.convert("L" if channels == 1 else "RGB")\n',
        'strip.convert("L" if channels == 1 else "RGB")\n'
        "        strip = strip if channels == 1 else Image.merge('RGB', strip.split()[::-1])\n",
        "test_evaluate_statistics.py", "png_is_read",
    ),
    "13: samples are normalised by their batch": Mutant(
        "models/gan.py", 'buffers["generator"], z, label)[0]', 'buffers["generator"], z, label, train=True)[0]',
        "test_protocol.py", "independent_of_their_batch_mates and dcgan"
    ),
}  # fmt: skip


def run(folder: Path, tests: str, chosen: str) -> int:
    """Exit status of the chosen tests on the package in ``folder``: 0 passed, 1 failed."""
    quiet = ["-o", "addopts=", "-x", "-q", "-p", "no:cacheprovider"]  # and long proofs among those that are chosen
    command = [sys.executable, "-m", "pytest", *quiet, f"tests/{tests}"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([*command, "-k", chosen], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode


@pytest.fixture
def copy(tmp_path):
    for name in ("gen_jax", "experiments", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_suite_sees(name, copy):
    mutant = MUTANTS[name]
    file = copy / "gen_jax" / mutant.file
    text = file.read_text()
    assert text.count(mutant.before) >= 1, "the line is not there any more: change the mutant with it"
    file.write_text(text.replace(mutant.before, mutant.after))
    assert run(copy, mutant.tests, mutant.chosen) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tests", sorted({mutant.tests for mutant in MUTANTS.values()}))
def test_the_same_tests_pass_on_an_unchanged_copy(tests, copy):
    chosen = " or ".join(f"({mutant.chosen})" for mutant in MUTANTS.values() if mutant.tests == tests)
    assert run(copy, tests, chosen) == 0
