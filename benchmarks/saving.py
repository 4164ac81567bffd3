"""What hashing and checking add to a run that saves every 1,000 steps.

    make benchmark-saving

Whole runs of :func:`gen_jax.fit`, whose saves are taken apart: *checking* that every number of the state is finite,
for which the next step waits; *hashing* the files that were written, in a thread of its own beside the steps; and
*writing*, which is the rest until the manifest stands. Checking and hashing are taken as if both held up the steps: an
upper bound.
"""

import contextlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

import gen_jax
from gen_jax.models import autoencoder, dcgan, ddpm, vae
from gen_jax.train import checkpoint, loop, manifest
from gen_jax.train.checkpoint import Checkpoints

SHAPE = (28, 28, 1)
INTERVAL = 1000  # steps between saves
MODELS = {
    "VAE `SMALL`": vae.SMALL,
    "autoencoder `REFERENCE`": autoencoder.REFERENCE,
    "DCGAN `SMALL`": dcgan.SMALL,
    "DDPM `SMALL`": ddpm.SMALL,
}


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    saves: int = 5
    """Of every run."""
    steps: int = 100
    """Between two of them."""
    batch_size: int = 64
    """Examples a step."""


class Measured(NamedTuple):
    """Of one run: medians over its saves, in seconds."""

    parameters: int
    size: int  # bytes of a state
    step: float
    checking: float
    hashing: float
    writing: float

    @property
    def share(self) -> float:
        """Of checking and hashing, in the time of a run that saves every so many steps."""
        return (self.checking + self.hashing) / (INTERVAL * self.step)


@contextlib.contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """The seconds of every call of a function of a module or a class."""
    function: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def call(*args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            seconds.append(time.perf_counter() - began)

    setattr(owner, name, call)
    try:
        yield seconds
    finally:
        setattr(owner, name, function)


def measure(configuration: Any, settings: Settings) -> Measured:
    """Trains and saves."""
    images = np.random.default_rng(0).integers(0, 256, (2048, *SHAPE), np.uint8)
    training = gen_jax.Training(
        steps=settings.saves * settings.steps,
        batch_size=settings.batch_size,
        checkpoint_every=settings.steps,
        log_every=settings.steps,
    )
    with contextlib.ExitStack() as held:
        directory = held.enter_context(tempfile.TemporaryDirectory())
        checking = held.enter_context(timed(loop, "not_finite"))
        beginning = held.enter_context(timed(Checkpoints, "save"))
        finishing = held.enter_context(timed(Checkpoints, "_finish"))
        hashing = held.enter_context(timed(manifest, "_fingerprint"))
        run = gen_jax.fit(configuration, images, training=training, directory=directory, quiet=True)
    assert len(checking) == len(beginning) == len(finishing) == settings.saves
    files = len(hashing) // settings.saves
    hashed = [sum(hashing[save * files : (save + 1) * files]) for save in range(settings.saves)]
    written = [sum(parts) for parts in zip(beginning, finishing, strict=True)]
    state = run.result.state
    return Measured(
        sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        sum(array.nbytes for array in checkpoint.flatten(state).values()),
        run.result.train_seconds / training.steps,
        statistics.median(checking),
        statistics.median(hashed),
        statistics.median(whole - part for whole, part in zip(written, hashed, strict=True)),
    )


def main(settings: Settings) -> None:
    """Prints the table."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, jax {jax.__version__},", end=" ")
    print(
        f"load {load:.1f}; batches of {settings.batch_size} images of {SHAPE}, {settings.saves} saves, each after",
        end=" ",
    )
    print(f"{settings.steps} steps, medians. The last column is of saves every {INTERVAL:,} steps.\n")
    print("| run | parameters | state, MB | step, ms | checking, ms | hashing, ms | writing, ms | checking + hashing |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, configuration in MODELS.items():
        found = measure(configuration, settings)
        save = " | ".join(f"{1e3 * seconds:.1f}" for seconds in (found.checking, found.hashing, found.writing))
        cells = f"{found.parameters:,} | {found.size / 1e6:.1f} | {1e3 * found.step:.2f} | {save}"
        print(f"| {name} | {cells} | **{found.share:.2%}** |", flush=True)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
