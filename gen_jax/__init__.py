"""Deep generative models in JAX, as pure functions: train, sample, load.

>>> import gen_jax, numpy as np
>>> images = np.zeros((64, 8, 8, 1), np.uint8)
>>> training = gen_jax.Training(steps=2, batch_size=8)
>>> run = gen_jax.fit(gen_jax.models.VAEConfig(latent=2, widths=(4,)), images, training=training, quiet=True)
>>> run.sample(0, 3).shape
(3, 8, 8, 1)
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gen_jax.names import *
else:

    def __getattr__(name: str) -> Any:
        """Imports what is asked for, and jax with it where it needs jax: a command line is judged before."""
        if not name.startswith("__"):
            try:
                return importlib.import_module(f"{__name__}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{__name__}.{name}":
                    raise
        if name == "__all__" or not name.startswith("__"):
            names = importlib.import_module(f"{__name__}.names")
            if hasattr(names, name):
                return getattr(names, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), *__getattr__("__all__")]
