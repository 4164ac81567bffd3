"""Deep generative models in JAX, as pure functions: train, sample, load.

>>> import gen_jax, numpy as np
>>> images = np.zeros((64, 8, 8, 1), np.uint8)
>>> training = gen_jax.Training(steps=2, batch_size=8)
>>> run = gen_jax.fit(gen_jax.models.VAEConfig(latent=2, widths=(4,)), images, training=training, quiet=True)
>>> run.sample(0, 3).shape
(3, 8, 8, 1)
"""

__version__ = "0.1.0"

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
