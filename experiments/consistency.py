"""A consistency model: from noise to an image in one evaluation, trained on the data or by a trained EDM.

    python -m experiments.consistency --data fashion_mnist --workdir runs/consistency
    python -m experiments.consistency --task distillation --teacher runs/edm ...
    python -m experiments.consistency --preset cifar10

Hardware: 2 CPU cores for the small preset; ten minutes of them give FD-fashion 12.5 in one evaluation and 7.85 in two
(``--later-noises 5``; 1,000 images). ``cifar10`` follows the improved training of Song and Dhariwal 2024
(arXiv:2310.14189), on a smaller network than the deep one that has FID 2.51 in one step and 2.24 in two there: 400,000
steps of batches of 1024, Adam at 1e-4, dropout 0.3. Distillation starts from a run of ``experiments.edm`` with the same
network.
"""

from dataclasses import dataclass
from typing import Any

from experiments import launch as launching
from experiments.launch import SMALL_TRAINING, Place, launch, train
from gen_jax import Adam, ConfigError, From, Training
from gen_jax.models import consistency
from gen_jax.networks.denoisers import Denoiser


@dataclass(frozen=True)
class Settings(launching.Settings[launching.Model, launching.Optimizers]):
    """Settings of a consistency model."""

    teacher: str = ""
    """For distillation: directory of the trained EDM."""


def main(settings: Settings[Any, Any]) -> None:
    """Trains the student, who begins as its teacher where it has one."""
    if (settings.model.task == "distillation") != bool(settings.teacher):
        raise ConfigError("expected both of --task distillation and --teacher DIRECTORY, or neither")
    teacher = From(run=settings.teacher)
    train(settings, title="consistency", begin={"student": teacher, "teacher": teacher} if settings.teacher else {})


ADAM = Adam(learning_rate=1e-3, warmup_steps=100, clip_norm=1.0)
DIGITS = consistency.ConsistencyConfig(net=Denoiser(blocks=1), last_intervals=160, doubling_every=2000)

PRESETS = {
    "small": Settings(consistency.SMALL, ADAM, SMALL_TRAINING, Place(workdir="runs/consistency")),
    "digits": Settings(DIGITS, ADAM, SMALL_TRAINING, Place(workdir="runs/consistency")),
    "cifar10": Settings(
        consistency.REFERENCE,
        Adam(learning_rate=1e-4),
        Training(steps=400_000, batch_size=1024, checkpoint_every=5000, ema_half_life=10_000_000),
        Place(data="cifar10", workdir="runs/consistency_cifar10", flip=True),
    ),
}


if __name__ == "__main__":
    launch(PRESETS, name="consistency", doc=__doc__, main=main)
