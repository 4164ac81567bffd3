"""Optimizers as plain data, one per player; they belong to the run, not to the model."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import optax


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) with warm-up, decay and clipping."""

    learning_rate: float = 2e-4
    """Step size after warm-up."""
    b1: float = 0.9
    """Decay of the first moment per step."""
    b2: float = 0.999
    """Decay of the second moment per step."""
    weight_decay: float = 0.0
    """Decoupled weight decay; 0 is Adam, otherwise AdamW."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    decay: Literal["constant", "cosine"] = "constant"
    """Shape of the learning rate after warm-up; cosine ends at 0 with the run."""
    clip_norm: float = 0.0
    """Largest global norm of a player's gradient; 0 does not clip."""

    def build(self, steps: int) -> optax.GradientTransformation:
        """The transformation for a run of ``steps`` steps."""
        schedule: optax.ScalarOrSchedule = self.learning_rate
        if self.decay == "cosine":
            schedule = optax.cosine_decay_schedule(self.learning_rate, max(steps - self.warmup_steps, 1))
        if self.warmup_steps:
            after = schedule if callable(schedule) else optax.constant_schedule(self.learning_rate)
            rise = optax.linear_schedule(0.0, self.learning_rate, self.warmup_steps)
            schedule = optax.join_schedules([rise, after], [self.warmup_steps])
        adam = optax.adamw(schedule, self.b1, self.b2, weight_decay=self.weight_decay)
        if not self.weight_decay:
            adam = optax.adam(schedule, self.b1, self.b2)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adam) if self.clip_norm else adam


Optimizer: TypeAlias = Adam | optax.GradientTransformationExtraArgs
"""What may move a player: Adam as plain data, or any other of optax's."""
