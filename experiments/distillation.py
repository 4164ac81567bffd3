"""Progressive distillation: the steps of a trained DDPM halved, and halved again.

    python -m experiments.ddpm --data fashion_mnist --workdir runs/ddpm
    python -m experiments.distillation --data fashion_mnist --teacher runs/ddpm --workdir runs/distillation

Salimans and Ho 2022 (arXiv:2202.00512). Every student is the teacher of the next, and has a run of its own in the
working directory, named after its steps: ``8_steps``, ``4_steps``, ... .
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import gen_jax
from experiments.launch import Flat, FlatAdam, FlatPlace, Place, launch, taught_configuration, train
from gen_jax import Adam, ConfigError, Training
from gen_jax.models import DDPMConfig, Distillation, DistillationConfig


@dataclass(frozen=True)
class Settings:
    """Settings of one halving after the other."""

    place: FlatPlace = Place(workdir="runs/distillation")
    teacher: str = "runs/ddpm"
    """Directory of the trained DDPM."""
    sampling_steps: int = 16
    """Steps of the first teacher's sampler, a power of two at most its timesteps."""
    last_steps: int = 1
    """Steps of the last student, a smaller power of two."""
    training: Annotated[Training, Flat] = Training(steps=1_000, batch_size=64, checkpoint_every=500, ema_ramp=0.2)
    optimizer: FlatAdam = Adam(learning_rate=1e-3, warmup_steps=100, clip_norm=1.0)

    @property
    def model(self) -> DistillationConfig:
        """The first teacher and its student."""
        return DistillationConfig(
            replace(taught_configuration(self.teacher, DDPMConfig), sampling_steps=self.sampling_steps)
        )

    @property
    def optimizers(self) -> dict[str, Adam]:
        """By player."""
        return {"student": self.optimizer}


@dataclass(frozen=True)
class Halving:
    """One student's settings, as an experiment of its own."""

    place: Place
    model: DistillationConfig
    training: Training
    optimizers: dict[str, Adam]


def main(settings: Settings) -> None:
    """Trains one student after the other."""
    steps, last = settings.sampling_steps, settings.last_steps
    if not 1 <= last < steps or any(n & (n - 1) for n in (steps, last)):
        raise ConfigError(f"expected powers of two, sampling_steps above last_steps, got {steps} and {last}")
    configuration, teacher = settings.model, gen_jax.load(settings.teacher)
    while steps > last:
        place = replace(settings.place, workdir=str(Path(settings.place.workdir) / f"{steps // 2}_steps"))
        halving = Halving(place, configuration, settings.training, settings.optimizers)
        student = train(halving, label=f"{steps} to {steps // 2} steps", teacher=teacher)
        assert isinstance(student.model, Distillation)
        params, buffers = student.model.learned(student.params, student.buffers)
        teacher = replace(student, params=params, buffers=buffers)
        steps //= 2
        configuration = DistillationConfig(replace(configuration.teacher, sampling_steps=steps))


PRESETS = {"small": Settings()}


if __name__ == "__main__":
    launch(main, PRESETS, name="distillation", doc=__doc__)
