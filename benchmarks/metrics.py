"""Seconds of a whole measurement, ours and torch-fidelity's, taken in turns in one run.

    make benchmark-metrics

Two folders of PNG files of 32x32 pixels are measured by both, in Inception with the same random weights: decoding,
resizing, features, statistics, FID, KID and IS. Both must first find the same numbers. Ours is timed after its first
call, which compiles (said apart); torch-fidelity builds its network inside every call, which is timed and taken off.
Then the Frechet distance alone, of two covariances at 2,048 features, against a matrix root of scipy's, which is what
pytorch-fid and others take, and against torch-fidelity's.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
import threadpoolctl
import torch
import torch_fidelity
import tyro
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_statistics_to_metric

from gen_jax import evaluate
from gen_jax.evaluate import Moments, frechet_distance
from tests.inception_state import random_state

WIDTH = 2048


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    images: int = 256
    """PNG files in either folder."""
    batch_size: int = 64
    """Images at a time, of both."""
    rounds: int = 3
    """Times that every contestant is timed, in turns."""


def write_folder(folder: Path, count: int, seed: int) -> None:
    """``count`` PNG files of smooth noise."""
    folder.mkdir()
    draw = np.random.default_rng(seed)
    for index in range(count):
        small = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{index:05d}.png")


def ours(folders: list[Path], weights: Path, settings: Settings) -> Callable[[], dict[str, float]]:
    """The measurement by this library."""
    network = evaluate.load_inception(weights).feature_network()

    def measured() -> dict[str, float]:
        sides = [
            evaluate.summarise(evaluate.from_folder(folder), network, batch_size=settings.batch_size)
            for folder in folders
        ]
        size = evaluate.Choices(subset_size=settings.images // 2)
        found = evaluate.measure(sides[0], sides[1], ("fid", "kid", "is"), settings=size)
        return {"fid": found["frechet_distance"].value, "kid": found["kid"].value, "is": found["score"].value}

    return measured


def theirs(folders: list[Path], weights: Path, settings: Settings) -> Callable[[], dict[str, float]]:
    """The measurement by torch-fidelity."""

    def measured() -> dict[str, float]:
        found = torch_fidelity.calculate_metrics(
            input1=str(folders[0]),
            input2=str(folders[1]),
            cuda=False,
            fid=True,
            kid=True,
            isc=True,
            kid_subset_size=settings.images // 2,
            batch_size=settings.batch_size,
            feature_extractor_weights_path=str(weights),
            cache=False,
            verbose=False,
            save_cpu_ram=True,
        )
        return {
            "fid": found["frechet_inception_distance"],
            "kid": found["kernel_inception_distance_mean"],
            "is": found["inception_score_mean"],
        }

    return measured


def seconds(function: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def construction(weights: Path) -> float:
    """Seconds that torch-fidelity takes to build its network."""
    return seconds(lambda: FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(weights)))


def whole(settings: Settings) -> None:
    """The whole path."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("generated", "reference")]
        for seed, folder in enumerate(folders):
            write_folder(folder, settings.images, seed)
        weights = Path(place) / "random.pth"
        torch.save({name: torch.from_numpy(value) for name, value in random_state().items()}, weights)
        a, b = ours(folders, weights, settings), theirs(folders, weights, settings)
        began = time.perf_counter()
        mine = a()
        first = time.perf_counter() - began
        other = b()
        for name, value in other.items():
            print(f"{name:4} ours {mine[name]:.8g}   torch-fidelity {value:.8g}")
            np.testing.assert_allclose(mine[name], value, rtol=1e-3, atol=1e-5)
        built = min(construction(weights) for _ in range(2))
        rows = [(seconds(a), seconds(b) - built) for _ in range(settings.rounds)]
    ratios = sorted(b / a for a, b in rows)
    a, b = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"whole path, 2 x {settings.images} images: ours {a:.2f} s ({first:.1f} s with compilation), torch-fidelity"
        f" {b:.2f} s (and {built:.2f} s to build its network); torch-fidelity / ours {statistics.median(ratios):.2f}"
        f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def alone(settings: Settings) -> None:
    """The distance alone."""
    draw = np.random.default_rng(0)
    spread = np.exp(-np.arange(WIDTH) / 300)
    sides = [evaluate.moments(draw.standard_normal((5000, WIDTH)) * spread + shift) for shift in (0.0, 0.01)]
    as_theirs = [{"mu": side.mean, "sigma": side.covariance} for side in sides]

    def by_root() -> float:
        a, b = sides
        root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
        return float(((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root))

    def by_torch_fidelity() -> float:
        return fid_statistics_to_metric(*as_theirs, False)["frechet_inception_distance"]

    contestants: dict[str, Callable[[], float]] = {
        "ours": lambda: frechet_distance(*[Moments(*side) for side in sides]),
        "scipy's sqrtm": by_root,
        "torch-fidelity": by_torch_fidelity,
    }
    values = {name: function() for name, function in contestants.items()}
    for value in values.values():
        np.testing.assert_allclose(value, values["ours"], rtol=1e-6)
    times = {name: [seconds(function) for _ in range(settings.rounds)] for name, function in contestants.items()}
    best = {name: min(row) for name, row in times.items()}
    for name, row in times.items():
        print(
            f"distance at {WIDTH} features, {name}: {statistics.median(row):.2f} s ({min(row):.2f} to {max(row):.2f});"
            f" {best[name] / best['ours']:.1f} times ours"
        )


def main(settings: Settings) -> None:
    """Prints the machine's libraries, then both tables."""
    kernels = {
        f"{pool['internal_api']} {pool.get('architecture', '')}".strip() for pool in threadpoolctl.threadpool_info()
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {', '.join(sorted(kernels))}")
    alone(settings)
    whole(settings)


if __name__ == "__main__":
    main(tyro.cli(Settings))
