"""Progressive distillation: the steps of a trained DDPM halved, and halved again.

    python -m experiments.ddpm --data fashion_mnist --workdir runs/ddpm
    python -m experiments.distillation --data fashion_mnist --teacher runs/ddpm --workdir runs/distillation

Salimans and Ho 2022 (arXiv:2202.00512). Every student is the teacher of the next, and has a run of its own in the
working directory, named after its steps: ``8_steps``, ``4_steps``, ... .
"""

from dataclasses import dataclass, replace
from typing import Annotated

import gen_jax
from experiments.launch import Flat, Place, launch, loaded, taught_configuration
from gen_jax import Adam, ConfigError, From, Stage, Training
from gen_jax.models import DDPMConfig, DistillationConfig


@dataclass(frozen=True)
class Settings:
    """Settings of one halving after the other."""

    place: Annotated[Place, Flat] = Place(workdir="runs/distillation")
    teacher: str = "runs/ddpm"
    """Directory of the trained DDPM."""
    sampling_steps: int = 16
    """Steps of the first teacher's sampler, a power of two at most its timesteps."""
    last_steps: int = 1
    """Steps of the last student, a smaller power of two."""
    training: Annotated[Training, Flat] = Training(steps=1_000, batch_size=64, checkpoint_every=500, ema_ramp=0.2)
    optimizer: Annotated[Adam, Flat] = Adam(learning_rate=1e-3, warmup_steps=100, clip_norm=1.0)


def stages(settings: Settings) -> list[Stage]:
    """One for each student; the first begins as the teacher's run, the others as the student before."""
    steps, last = settings.sampling_steps, settings.last_steps
    if not 1 <= last < steps or any(n & (n - 1) for n in (steps, last)):
        raise ConfigError(f"expected powers of two, sampling_steps above last_steps, got {steps} and {last}")
    ddpm, source = taught_configuration(settings.teacher, DDPMConfig), From(run=settings.teacher)
    found = []
    while steps > last:
        student = DistillationConfig(replace(ddpm, sampling_steps=steps))
        keeps = {"student": source, "teacher": source}
        found.append(Stage(f"{steps // 2}_steps", student, settings.training, settings.optimizer, keeps))
        steps, source = steps // 2, From("student")
    return found


def main(settings: Settings) -> None:
    """Trains one student after the other."""
    place = settings.place
    found, source = stages(settings), loaded(place)
    gen_jax.fit_stages(
        found,
        source,
        directory=place.workdir,
        seconds=settings.training.seconds,
        title="distillation",
        flip=place.flip,
        crop=place.crop,
    )


PRESETS = {"small": Settings()}


if __name__ == "__main__":
    launch(PRESETS, name="distillation", doc=__doc__, main=main)
