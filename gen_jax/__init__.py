"""Deep generative models in JAX, as pure functions: train, sample, load.

>>> import gen_jax, numpy as np
>>> images = np.zeros((64, 8, 8, 1), np.uint8)
>>> training = gen_jax.Training(steps=2, batch_size=8)
>>> run = gen_jax.fit(gen_jax.models.VAEConfig(latent=2, widths=(4,)), images, training=training, quiet=True)
>>> run.sample(0, 3).shape
(3, 8, 8, 1)
"""

__version__ = "0.1.0"

from gen_jax import data, models
from gen_jax.run import Run, fit, load
from gen_jax.settings import ConfigError
from gen_jax.train.loop import Training
from gen_jax.train.optimizers import Adam

__all__ = ["Adam", "ConfigError", "Run", "Training", "data", "fit", "load", "models"]
