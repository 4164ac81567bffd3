"""What ``gen_jax`` has at its top: ``gen_jax.fit`` is that of here."""

from gen_jax import data, evaluate, fields, models, ruler
from gen_jax.begin import From
from gen_jax.data import DataError
from gen_jax.fitting import fit
from gen_jax.run import Run, load
from gen_jax.settings import ConfigError
from gen_jax.stages import Stage, fit_stages
from gen_jax.train.checkpoint import CheckpointError
from gen_jax.train.loop import DivergedError, Training
from gen_jax.train.optimizers import Adam, RMSProp
from gen_jax.train.signals import InterruptedRun

__all__ = [
    "Adam",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "From",
    "InterruptedRun",
    "RMSProp",
    "Run",
    "Stage",
    "Training",
    "data",
    "evaluate",
    "fields",
    "fit",
    "fit_stages",
    "load",
    "models",
    "ruler",
]
