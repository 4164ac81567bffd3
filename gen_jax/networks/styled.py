"""A generator that is told what to make by a style for every layer: the part that all StyleGANs share.

Karras et al. 2019 (arXiv:1812.04948) and 2020 (arXiv:1912.04958).

    mapping     w = f(z / rms(z)), dense layers with leaky ReLUs; with classes f(z / rms(z), e / rms(e))           (1)
    mean        w_mean <- d w_mean + (1 - d) mean over the batch of w, in every turn of the generator              (2)
    mixing      with probability p, styles from a random layer on are those of another latent                      (3)
    truncation  w_mean + psi (w - w_mean), in the first layers                                                     (4)
    path length |J^T y| = sqrt(mean over layers of |gradient of <synthesis(w), y> in w|^2),  y ~ N(0, I / HW)      (5)
    penalty     E (|J^T y| - a)^2,   a <- 0.99 a + 0.01 E |J^T y|                                                  (6)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.equalised import HE, EqualisedLinear, leaky, pixel_norm

PATH_SHARE = 0.01  # of a batch in the running mean of (6)
_PROBE, _MIXING = 2**32 - 1, 2**32 - 2  # keys beside those of the layers' noise, which count up from 0


class Mapping(nnx.Module):
    """(1): ``z [B, latent], label [B] or None -> [B, width]``."""

    def __init__(self, latent: int, width: int, layers: int, *, classes: int, multiplier: float, rngs: nnx.Rngs):
        self.table = nnx.Param(jax.random.normal(rngs.params(), (classes, width))) if classes else None
        inputs = [latent + (width if classes else 0), *[width] * layers]
        self.layers = nnx.List(
            EqualisedLinear(inputs[i], width, multiplier=multiplier, rngs=rngs) for i in range(layers)
        )

    def __call__(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """See the class."""
        h = pixel_norm(z)
        if self.table is not None and label is not None:
            h = jnp.concatenate([h, pixel_norm(self.table[...][label]).astype(h.dtype)], axis=-1)
        for layer in self.layers:
            h = HE * leaky(layer(h))
        return h


class StyledGenerator(nnx.Module):
    """Latents ``z [B, latent]``, with classes and ``label [B]``, to images ``[B, H, W, C]``.

    Args:
      synthesis: makes the network from styles ``[B, layers, width]`` to images, ``synthesis(rngs=...)``; it has
        ``layers`` and is called with ``styles, key=, train=``, where a key draws its noise.
      latent: width of ``z``.
      width: of a style.
      mapping_layers: of (1).
      classes: 0 for a generator without labels.
      multiplier: of the mapping's learning rate.
      mixing: p of (3).
      mean_decay: d of (2).
    """

    def __init__(
        self,
        synthesis: Callable[..., Any],
        *,
        latent: int,
        width: int,
        mapping_layers: int,
        classes: int = 0,
        multiplier: float = 0.01,
        mixing: float = 0.9,
        mean_decay: float = 0.995,
        rngs: nnx.Rngs,
    ):
        self.latent, self.mixing, self.mean_decay = latent, mixing, mean_decay
        self.mapping = Mapping(latent, width, mapping_layers, classes=classes, multiplier=multiplier, rngs=rngs)
        self.synthesis = synthesis(rngs=rngs)
        self.mean = nnx.BatchStat(jnp.zeros((width,)))
        self.path_length = nnx.BatchStat(jnp.zeros(()))

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Images; while it trains they are not yet held to [-1, 1], styles are mixed and (2) is followed."""
        w = self.mapping(z, label)
        if not train:
            return jnp.clip(self.synthesis(self.everywhere(w), key=key), -1.0, 1.0)
        batch = w.astype(jnp.float32).mean(axis=0)
        self.mean[...] = self.mean_decay * self.mean[...] + (1 - self.mean_decay) * batch
        return self.synthesis(self._mixed(w, label, key), key=key, train=True)

    def style(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """(1)."""
        return self.mapping(z, label)

    def synthesise(
        self, styles: jax.Array, *further: jax.Array, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Images, not held to [-1, 1], of ``styles [B, layers, width]``; a key draws noise, otherwise it is fixed."""
        return self.synthesis(styles, *further, key=key)

    def penalise_path(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """(6), whose running mean is followed."""
        assert key is not None
        lengths = self.path_lengths(self._mixed(self.mapping(z, label), label, key), key=key)
        mean = self.path_length[...] + PATH_SHARE * (lengths.mean() - self.path_length[...])
        self.path_length[...] = jax.lax.stop_gradient(mean)
        return jnp.square(lengths - self.path_length[...]).mean()

    def path_lengths(self, styles: jax.Array, *, key: jax.Array, train: bool = False) -> jax.Array:
        """(5) at ``styles [B, layers, width]``, one draw of y each: float32 ``[B]``."""

        def along(styles: jax.Array) -> jax.Array:
            x = self.synthesis(styles, key=key).astype(jnp.float32)
            y = jax.random.normal(jax.random.fold_in(key, _PROBE), x.shape) / jnp.sqrt(x.shape[1] * x.shape[2])
            return (x * y).sum()

        squared = jnp.square(jax.grad(along)(styles).astype(jnp.float32)).sum(axis=-1).mean(axis=-1)
        # The root has no derivative at zero, where nothing follows the styles yet.
        return jnp.sqrt(jnp.maximum(squared, 1e-12))

    def everywhere(self, w: jax.Array) -> jax.Array:
        """``w [B, width]`` in every layer: ``[B, layers, width]``."""
        return jnp.broadcast_to(w[:, None], (len(w), self.synthesis.layers, w.shape[-1]))

    def _mixed(self, w: jax.Array, label: jax.Array | None, key: jax.Array | None) -> jax.Array:
        """(3); without a key, or with p of 0, ``w`` in every layer."""
        layers = self.synthesis.layers
        if key is None or not self.mixing or layers < 2:
            return self.everywhere(w)
        keys = jax.random.split(jax.random.fold_in(key, _MIXING), 3)
        z = jax.random.normal(keys[0], (len(w), self.latent)).astype(w.dtype)
        place = jax.random.randint(keys[1], (len(w), 1, 1), 1, layers)
        place = jnp.where(jax.random.bernoulli(keys[2], self.mixing, place.shape), place, layers)
        other = self.everywhere(self.mapping(z, label))
        return jnp.where(jnp.arange(layers)[:, None] < place, self.everywhere(w), other)
