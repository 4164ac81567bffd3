"""A score model of data and their velocity.

Dockhorn, Vahdat and Kreis 2022 (arXiv:2112.07068), hybrid score matching: on the process of
:mod:`gen_jax.diffusion.cld`, with the velocity at the start averaged over,

(1) L = E_t E_eps mean over pixels (a - eps_w)^2,  t uniform
(2) a = L_ww w_t / S_ww + F(x_t, w_t, t),  the score in w is -a / L_ww

so that a network that gives 0 knows the score of velocities that do not depend on the data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.checks import Evaluations, Positive, plain
from gen_jax.diffusion import cld, times, training
from gen_jax.diffusion.cld import CriticallyDamped
from gen_jax.diffusion.process import against
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

Sampler = Callable[..., jax.Array]
SAMPLERS: dict[str, Sampler] = {"splitting": cld.symmetric_splitting, "euler_maruyama": cld.euler_maruyama}
NOISE_SCALE = {"unet": 1000.0, "ddpm++": 999.0, "ncsn++": 1.0, "mlp": 1000.0}  # that t is told by, as in score SDEs
LEAST = 1e-5  # time, of training


@dataclass(frozen=True)
class CLD:
    """A game of one player, ``denoiser``."""

    shape: tuple[int, int, int]
    classes: int
    network: Network  # F: x_t and w_t [B, H, W, 2 C], label [B], class or None -> [B, H, W, C]
    noise_scale: float  # what t is multiplied by for F
    process: CriticallyDamped
    sampler: Sampler
    times: np.ndarray  # that the sampler visits, [S + 1]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (1)."""
        return (Turn("denoiser", self.loss),)

    makes: ClassVar[str] = "image"

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One per step."""
        return len(self.times) - 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network."""
        params, buffers = self.network.init(key)
        return {"denoiser": params}, {"denoiser": buffers}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1), a mean over pixels."""
        keys = jax.random.split(key, 4)
        x_0, label = batch["image"], batch["label"] if self.classes else None
        t = training.uniform(LEAST, 1.0)(training.spread(keys[0], x_0.shape[0]))
        noise = jax.random.normal(keys[1], x_0.shape), jax.random.normal(keys[2], x_0.shape)
        x_t, w_t = self.process.diffuse(x_0, noise, t)
        predicted, carried = self._predict(params, buffers, x_t, w_t, t, label, key=keys[3], train=True)
        return jnp.mean((predicted - noise[1]) ** 2), Aux({}, {"denoiser": carried})

    def score(
        self,
        params: Params,
        buffers: Buffers,
        x: jax.Array,
        w: jax.Array,
        t: jax.Array,
        *,
        label: jax.Array | None = None,
    ) -> jax.Array:
        """The score in ``w``, ``[B, H, W, C]``, at ``t [B]``."""
        spread = against(self.process.covariance(t).root[2], x)
        return -self._predict(params, buffers, x, w, t, label)[0] / spread

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]``; with classes, of those of ``label [n]``."""
        keys = jax.random.split(key, 3)

        def score(x: jax.Array, w: jax.Array, t: jax.Array) -> jax.Array:
            return self.score(params, buffers, x, w, t, label=label)

        start = jax.random.normal(keys[1], (n, *self.shape, 2))
        x = self.sampler(self.process, score, self.times, keys[0], start[..., 0], start[..., 1])
        return jnp.clip(x, -1.0, 1.0)

    def _predict(
        self,
        params: Params,
        buffers: Buffers,
        x: jax.Array,
        w: jax.Array,
        t: jax.Array,
        label: jax.Array | None,
        **options: Any,
    ) -> tuple[jax.Array, Tree]:
        """A of (2)."""
        covariance = self.process.covariance(t)
        share = against(covariance.root[2] / covariance.ww, x)
        both = jnp.concatenate([x, w], axis=-1)
        raw, carried = self.network.apply(
            params["denoiser"], buffers["denoiser"], both, self.noise_scale * t, label, **options
        )
        return share * w + raw, carried


@plain
class CLDConfig:
    """Critically damped Langevin diffusion as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    rate: Positive = 8.0
    """How fast data turn into noise: the paper's beta over the root of its mass."""
    velocity_variance: Positive = 0.04
    """Variance of the velocities at the data, in units of that at the noise."""
    sampler: Literal["splitting", "euler_maruyama"] = "splitting"
    """Symmetric splitting, stable with few steps, or Euler's rule."""
    sampling_steps: Evaluations = 200
    """Steps of the sampler, each one evaluation of the network."""
    conditional: bool = False
    """Condition on the label; needs labelled data."""

    def build(self, fields: Fields) -> CLD:
        """The game on images of any size.

        Raises:
          ValueError: if the network cannot be built, labels are asked for and missing, or a number is out of range.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        noise_scale = self.net.among(NOISE_SCALE)
        net = self.net.build((*shape[:2], 2 * shape[2]), classes, outputs=shape[2])
        return CLD(
            shape=shape,
            classes=classes,
            network=net,
            noise_scale=noise_scale,
            process=CriticallyDamped(self.rate, self.velocity_variance),
            sampler=SAMPLERS[self.sampler],
            times=times.even(1.0, 0.0, self.sampling_steps),
        )


REFERENCE = CLDConfig(
    net=Denoiser(channels=128, multipliers=(1, 2, 2, 2), blocks=8, attention=(16,), dropout=0.1, network="ncsn++"),
    sampling_steps=500,
)
"""CIFAR-10 on the deep NCSN++ that sees the velocity as well: 107,593,859 parameters. Adam 2e-4
after 100,000 steps of warm-up, 800,000 steps of batches of 128, averages that keep 0.9999 a step."""

SMALL = CLDConfig(net=Denoiser(blocks=1, patch=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
