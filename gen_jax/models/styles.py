"""The game of the StyleGANs: an adversarial game whose generator maps a latent to styles, and styles to an image.

Karras et al. 2019 (arXiv:1812.04948), 2020 (arXiv:1912.04958) and 2021 (arXiv:2106.12423). The players, their turns and
penalties are those of :mod:`gen_jax.models.gan`, styles and their mean those of :mod:`gen_jax.networks.styled`. Styles
``w [n, layers, width]`` have one for every layer, the coarsest first:

    truncation     w_mean + psi (w - w_mean) in the first layers: nearer to the mean image, and less varied          (1)
    mixing         layers before k of one image, the others of another: pose of the one, colours of the other        (2)
    interpolation  the line between two w                                                                            (3)
    projection     the w that makes an image: from the nearest of some drawn, Adam on the mean over resolutions of
                   |image - synthesis(w)|^2                                                                          (4)

(4) in the papers is by a distance of features; this one needs no other network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.interpolate import lerp
from gen_jax.models.gan import GAN
from gen_jax.networks.styled import StyledGenerator
from gen_jax.nn.resample import mean_pixels
from gen_jax.protocol import Buffers, Params, Turn


class Projection(NamedTuple):
    """What (4) has found."""

    styles: jax.Array
    """``[n, layers, width]``, the same in every layer."""
    images: jax.Array
    """That they make, ``[n, H, W, C]``."""
    errors: jax.Array
    """(4) at every step, of each image: ``[steps, n]``."""


@dataclass(frozen=True)
class StyleGAN:
    """A GAN with styles.

    Attributes:
      game: of a generator that is a :class:`gen_jax.networks.styled.StyledGenerator`.
      layers: that have a style.
    """

    game: GAN
    layers: int

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W, C."""
        return self.game.shape

    @property
    def classes(self) -> int:
        """0: none."""
        return self.game.classes

    @property
    def makes(self) -> str:
        """As the game."""
        return self.game.makes

    @property
    def given(self) -> tuple[str, ...]:
        """As the game."""
        return self.game.given

    @property
    def turns(self) -> tuple[Turn, ...]:
        """As the game."""
        return self.game.turns

    @property
    def network_evaluations(self) -> int:
        """One per sample."""
        return 1

    def warning(self, rows: Sequence[Mapping[str, float]]) -> str:
        """As the game."""
        return self.game.warning(rows)

    @property
    def init(self) -> Callable[..., tuple[Params, Buffers]]:
        """As the game."""
        return self.game.init

    @property
    def latents(self) -> Callable[[jax.Array, int], jax.Array]:
        """As the game."""
        return self.game.latents

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images, not truncated, with noise of their own; with classes, of those of ``label [n]``."""
        styles = self.styles(params, buffers, self.latents(key, n), label=label)
        return self.decode(params, buffers, styles, key=jax.random.fold_in(key, 1))

    def styles(
        self,
        params: Params,
        buffers: Buffers,
        z: jax.Array,
        *,
        label: jax.Array | None = None,
        psi: float = 1.0,
        layers: int | None = None,
    ) -> jax.Array:
        """Styles ``[n, layers, width]`` of latents ``[n, latent]``, truncated by ``psi`` in the first ``layers``."""
        self.game.check_label(label)
        w = self._apply(params, buffers, z, label, method=StyledGenerator.style)
        return self.truncated(buffers, self._everywhere(w), psi, layers=layers)

    def truncated(self, buffers: Buffers, styles: jax.Array, psi: float, *, layers: int | None = None) -> jax.Array:
        """(1) of ``[n, layers, width]``; in all layers if not said otherwise."""
        mean = buffers["generator"]["mean"]
        first = jnp.arange(self.layers)[:, None] < (self.layers if layers is None else layers)
        return jnp.where(first, mean + psi * (styles - mean), styles)

    def mixed(self, coarse: jax.Array, fine: jax.Array, layer: int) -> jax.Array:
        """(2) of styles ``[n, layers, width]``: those of ``coarse`` in the layers before ``layer``."""
        return jnp.where(jnp.arange(self.layers)[:, None] < layer, coarse, fine)

    def decode(self, params: Params, buffers: Buffers, styles: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Images ``[n, H, W, C]`` of styles; a key draws their noise, otherwise all have the same."""
        return jnp.clip(self._apply(params, buffers, styles, key=key, method=StyledGenerator.synthesise), -1.0, 1.0)

    def interpolate(
        self,
        params: Params,
        buffers: Buffers,
        start: jax.Array,
        end: jax.Array,
        weights: jax.Array,
        *,
        label: jax.Array | None = None,
        psi: float = 1.0,
    ) -> jax.Array:
        """(3) between latents ``[n, latent]`` at ``weights [k]``: images ``[n, k, H, W, C]`` of the same noise."""
        ends = [self.styles(params, buffers, z, label=label, psi=psi) for z in (start, end)]
        along = jax.vmap(lerp, in_axes=(None, None, 0), out_axes=1)(ends[0], ends[1], weights)
        images = self.decode(params, buffers, along.reshape(-1, *along.shape[2:]))
        return images.reshape(len(start), len(weights), *self.shape)

    def project(
        self,
        params: Params,
        buffers: Buffers,
        images: jax.Array,
        key: jax.Array,
        *,
        label: jax.Array | None = None,
        steps: int = 200,
        learning_rate: float = 0.05,
        candidates: int = 64,
    ) -> Projection:
        """(4) of ``images [n, H, W, C]`` in [-1, 1], with classes of ``label [n]``.

        Args:
          params: of all players.
          buffers: of all players.
          images: see above.
          key: draws the candidates.
          label: with classes.
          steps: of Adam.
          learning_rate: at the first step, in units of the spread of w; it falls to 0 by a cosine.
          candidates: drawn for each image, of which the nearest is where it begins.
        """

        def made(w: jax.Array) -> jax.Array:
            return self._apply(params, buffers, self._everywhere(w), method=StyledGenerator.synthesise)

        def error(w: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = made(w)
            beyond = (jnp.abs(images) >= 1.0) & (x * images > 1.0)  # whiter than white is white
            each = _distance(jnp.where(beyond, images, x), images)
            return each.sum(), each

        def drawn(key: jax.Array) -> jax.Array:
            return self.styles(params, buffers, self.latents(key, len(images)), label=label)[:, 0]

        tried = jax.lax.map(drawn, jax.random.split(key, candidates))  # [candidates, n, width]
        nearest = jax.lax.map(lambda w: error(w)[1], tried).argmin(axis=0)
        rate = learning_rate * tried.std(axis=0).mean()

        def step(carry: Any, index: jax.Array) -> tuple[Any, jax.Array]:
            w, mean, square = carry
            (_, errors), gradient = jax.value_and_grad(error, has_aux=True)(w)
            mean, square = lerp(mean, gradient, 0.1), lerp(square, gradient**2, 0.001)
            unbiased, root = mean / (1 - 0.9 ** (index + 1)), jnp.sqrt(square / (1 - 0.999 ** (index + 1)))
            falling = 0.5 * (1 + jnp.cos(jnp.pi * index / steps))
            return (w - rate * falling * unbiased / (root + 1e-8), mean, square), errors

        start = tried[nearest, jnp.arange(len(images))]
        zero = jnp.zeros_like(start)
        (w, _, _), errors = jax.lax.scan(step, (start, zero, zero), jnp.arange(steps))
        return Projection(self._everywhere(w), jnp.clip(made(w), -1.0, 1.0), errors)

    def _everywhere(self, w: jax.Array) -> jax.Array:
        """The same style ``[n, width]`` in every layer."""
        return jnp.broadcast_to(w[:, None], (len(w), self.layers, w.shape[-1]))

    def _apply(self, params: Params, buffers: Buffers, *inputs: Any, **options: Any) -> jax.Array:
        return self.game.generator.apply(params["generator"], buffers["generator"], *inputs, **options)[0]


def _distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over resolutions, each half of the one before, of the mean squared difference: ``[n]``."""
    found = [jnp.square(x - y).mean(axis=(1, 2, 3))]
    while all(side % 2 == 0 and side >= 8 for side in x.shape[1:3]):
        x, y = mean_pixels(x, 2), mean_pixels(y, 2)
        found.append(jnp.square(x - y).mean(axis=(1, 2, 3)))
    return jnp.stack(found).mean(axis=0)
