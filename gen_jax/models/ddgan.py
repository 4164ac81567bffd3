"""Denoising diffusion GAN: few large denoising steps, each drawn by a conditional generator.

Xiao, Kreis and Vahdat 2022, arXiv 2112.07804. Time runs t = 0 .. T; x_0 is data and x_T all but noise:

    x_{t+1} = sqrt(1 - beta_{t+1}) x_t + sqrt(beta_{t+1}) e,  e ~ N(0, I)                                          (1)
    beta_k = 1 - a(k) / a(k - 1),   log a(k) = -(20 - 0.1) s^2 / 2 - 0.1 s,   s = 0.001 + 0.999 k / T              (2)

With T of 4 the steps are so large that p(x_t | x_{t+1}) is far from Gaussian. A generator draws from it: it guesses
x_0 from x_{t+1} and a latent z, and x_t follows from the Gaussian posterior of (1),

    q(x_t | x_{t+1}, x_0) = N(c_t x_0 + d_t x_{t+1}, v_t I),     v_0 = 0                                           (3)
    c_t = sqrt(b_t) beta_{t+1} / (1 - b_{t+1}),  d_t = sqrt(1 - beta_{t+1}) (1 - b_t) / (1 - b_{t+1}),
    v_t = beta_{t+1} (1 - b_t) / (1 - b_{t+1}),  b_t = (1 - beta_1) ... (1 - beta_t)

where a critic compares pairs (x_t, x_{t+1}) from (1) with pairs whose x_t came from (3), at uniform t < T:

    critic     E sp(-D(x_t, x_{t+1}, t)) + E sp(D(x_t', x_{t+1}, t))                                               (4)
    penalty    gamma / 2 E ||gradient of D(x_t, x_{t+1}, t) in x_t||^2      x_{t+1} is a condition: not penalised  (5)
    generator  E sp(-D(x_t', x_{t+1}, t))                                                                          (6)

(5) is a turn of its own, taken on every 15th step. As in the authors' code it is not multiplied by 15 to make up for
that; there it is added to (4) on that step, here it is one more step of the critic's optimizer.

If the generator draws x_0 from the exact p(x_0 | x_{t+1}), :func:`denoise` draws exactly from the data.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.checks import Amount, Count, Depth, Evaluations, Number, plain
from gen_jax.diffusion.process import Process
from gen_jax.diffusion.schedules import discrete
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.losses import adversarial
from gen_jax.losses.adversarial import non_saturating
from gen_jax.networks import ddgan as nets
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.nn.ladder import MULTIPLE
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

CRITICS = {"residual": nets.Critic, "strided": nets.StridedCritic}

Generate = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # key, x_{t+1} [n, ...], t -> x_0 [n, ...]


def variances(steps: int) -> np.ndarray:
    """beta_1 .. beta_T of (2) for T = ``steps``, float64."""
    s = 0.001 + 0.999 * np.arange(steps + 1) / steps
    a = np.exp(-0.5 * 19.9 * s**2 - 0.1 * s)
    return 1 - a[1:] / a[:-1]


def diffuse_pair(process: Process, key: jax.Array, x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x_t and x_{t+1} of (1), for x_0 ``x [B, ...]`` and ``t [B]`` in 0 .. T - 1."""
    keys = jax.random.split(key)
    earlier = process.diffuse(x, jax.random.normal(keys[0], x.shape), t - 1)
    beta = process.step_variance(x, t, t - 1)
    later = jnp.sqrt(1 - beta) * earlier + jnp.sqrt(beta) * jax.random.normal(keys[1], x.shape)
    return earlier, later


def posterior(process: Process, key: jax.Array, x: jax.Array, later: jax.Array, t: jax.Array) -> jax.Array:
    """A draw of x_t from (3), given x_0 ``x``, x_{t+1} ``later`` and ``t`` (``[B]``, or one for all)."""
    mean = process.posterior_mean(later, x, t, t - 1)
    return mean + jnp.sqrt(process.posterior_variance(x, t, t - 1)) * jax.random.normal(key, x.shape)


def denoise(process: Process, steps: int, key: jax.Array, generate: Generate, start: jax.Array) -> jax.Array:
    """The chain from x_T to x_0, in one scan: ``generate``, then (3), T times.

    Args:
      process: the chain of :func:`variances`.
      steps: T.
      key: of the chain; ``generate`` gets a key of its own at every step.
      generate: draws x_0 from ``(key, x_{t+1}, t)``, with ``t`` an int32 scalar.
      start: x_T ``[n, ...]``, N(0, I).
    """

    def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        keys = jax.random.split(jax.random.fold_in(key, t))
        return posterior(process, keys[1], generate(keys[0], x, t), x, t), None

    return jax.lax.scan(step, start, jnp.arange(steps - 1, -1, -1))[0]


@dataclass(frozen=True)
class DDGAN:
    """The game of (4), (5) and (6).

    Attributes:
      shape: H, W, C of an image.
      classes: labels that both networks are told, 0 for none.
      generator: ``x_{t+1} [B, H, W, C], t [B], z [B, latent], label [B] or None -> x_0 [B, H, W, C]``.
      critic: ``x_t, x_{t+1} [B, H, W, C], t [B], label [B] or None -> logits [B]``.
      latent: width of ``z``.
      steps: T.
      process: (1), where x_t has time t - 1: the data are at -1.
      penalty: gamma of (5); 0 leaves its turn out.
      penalty_every: steps from one penalty to the next.
    """

    shape: tuple[int, int, int]
    classes: int
    generator: Network
    critic: Network
    latent: int
    steps: int
    process: Process
    penalty: float
    penalty_every: int

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critic, now and then its penalty, then the generator."""
        penalty = (Turn("critic", self.penalty_loss, every=self.penalty_every),) if self.penalty else ()
        return Turn("critic", self.critic_loss), *penalty, Turn("generator", self.generator_loss)

    makes: ClassVar[str] = "image"

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One of the generator per step of the chain."""
        return self.steps

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters of both players; they have no buffers."""
        keys = jax.random.split(key)
        made = {"generator": self.generator.init(keys[0]), "critic": self.critic.init(keys[1])}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(4); its metrics are the mean logits of real and of generated x_t."""
        keys = jax.random.split(key)
        earlier, later, t = self._pair(keys[0], batch)
        fake = self._earlier(params, buffers, keys[1], later, t, batch)
        logits = self._critic(params, buffers, batch, later, t)
        real_logits, fake_logits = logits(earlier), logits(fake)
        metrics = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean()}
        return non_saturating.critic(real_logits, fake_logits), Aux(metrics)

    def penalty_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(5)."""
        earlier, later, t = self._pair(key, batch)
        return adversarial.r1(self._critic(params, buffers, batch, later, t), earlier, gamma=self.penalty), Aux({})

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(6), at times and noise of its own."""
        keys = jax.random.split(key)
        _, later, t = self._pair(keys[0], batch)
        fake = self._earlier(params, buffers, keys[1], later, t, batch)
        return non_saturating.generator(self._critic(params, buffers, batch, later, t)(fake)), Aux({})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]`` by T evaluations; with classes, of those of ``label [n]``."""
        keys = jax.random.split(key)

        def generate(key: jax.Array, x: jax.Array, t: jax.Array) -> jax.Array:
            return self._clean(params, buffers, key, x, jnp.full(n, t), label)

        start = jax.random.normal(keys[1], (n, *self.shape))
        return denoise(self.process, self.steps, keys[0], generate, start)

    def _pair(self, key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        keys = jax.random.split(key)
        t = jax.random.randint(keys[0], (len(batch["image"]),), 0, self.steps)
        return *diffuse_pair(self.process, keys[1], batch["image"], t), t

    def _earlier(
        self, params: Params, buffers: Buffers, key: jax.Array, later: jax.Array, t: jax.Array, batch: Batch
    ) -> jax.Array:
        keys = jax.random.split(key)
        clean = self._clean(params, buffers, keys[0], later, t, self._label(batch))
        return posterior(self.process, keys[1], clean, later, t)

    def _clean(
        self, params: Params, buffers: Buffers, key: jax.Array, later: jax.Array, t: jax.Array, label: Any
    ) -> jax.Array:
        z = jax.random.normal(key, (len(later), self.latent))
        return self.generator.apply(params["generator"], buffers["generator"], later, t, z, label)[0]

    def _critic(
        self, params: Params, buffers: Buffers, batch: Batch, later: jax.Array, t: jax.Array
    ) -> adversarial.Critic:
        label = self._label(batch)
        return lambda x: self.critic.apply(params["critic"], buffers["critic"], x, later, t, label)[0]

    def _label(self, batch: Batch) -> jax.Array | None:
        if not self.classes:
            return None
        return batch["label"]


@plain
class DDGANConfig:
    """A denoising diffusion GAN as plain data."""

    denoising_steps: Evaluations = 4
    """Denoising steps T, each one evaluation of the generator."""
    patch: Count = 1
    """Side, in pixels, of the blocks that the generator takes as channels; 2 needs a quarter of the work of 1."""
    base: Count = 128
    """Channels of the generator's first level."""
    multipliers: tuple[Count, ...] = (1, 2, 2, 2)
    """Channels of the generator's levels in multiples of its base; the side is halved between them if it can be."""
    blocks: Depth = 2
    """Residual blocks per level of the generator on the way down; one more on the way up."""
    attention: tuple[Number, ...] = (1,)
    """Levels of the generator with self-attention, counted from 0 at the highest resolution."""
    latent: Count = 100
    """Width of z."""
    style_width: Count = 256
    """Width of the layers that map z to a style."""
    mapping_layers: Depth = 5
    """Dense layers between z and the style."""
    critic_base: Count = 64
    """Channels per unit of critic_multipliers."""
    critic_multipliers: tuple[Count, ...] = (2, 4, 8, 8)
    """Channels of the critic's blocks as multiples of its base; they halve the side as long as it can be halved."""
    critic_network: Literal["residual", "strided"] = "residual"
    """The paper's residual critic, or one of strided convolutions for small budgets."""
    critic_time_width: Count = 256
    """Width of the critic's embedding of the time."""
    penalty: Amount = 0.02
    """Weight gamma of the R1 penalty gamma / 2 ||gradient||^2; 0 for none."""
    penalty_every: Count = 15
    """Steps from one penalty to the next; the penalty is not scaled up for the steps between."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> DDGAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing, or a number is out of range.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        generate = partial(
            network,
            nets.Generator,
            channels=shape[2],
            base=self.base,
            multipliers=tuple(self.multipliers),
            blocks=self.blocks,
            attention=tuple(self.attention),
            latent=self.latent,
            style_width=self.style_width,
            mapping_layers=self.mapping_layers,
            patch=self.patch,
            classes=classes,
        )
        generator = padded(generate, shape[:2], math.lcm(MULTIPLE, self.patch))
        criticise = partial(
            network,
            CRITICS[self.critic_network],
            channels=shape[2],
            base=self.critic_base,
            multipliers=tuple(self.critic_multipliers),
            time_width=self.critic_time_width,
            classes=classes,
        )
        critic = padded(criticise, shape[:2], MULTIPLE)
        process = discrete(variances(self.denoising_steps))
        numbers = (self.latent, self.denoising_steps, process, self.penalty, self.penalty_every)
        return DDGAN(shape, classes, generator, critic, *numbers)

    def __post_init__(self) -> None:
        if not self.multipliers or not self.critic_multipliers:
            raise ValueError("expected at least one multiplier for generator and critic, got none")
        if self.base < 4 or self.base % 2 or self.critic_time_width < 4 or self.critic_time_width % 2:
            raise ValueError(
                "expected base and critic_time_width even and at least 4, since they hold sines and cosines, got "
                f"{self.base} and {self.critic_time_width}"
            )


REFERENCE = DDGANConfig()
"""CIFAR-10: generator 48,432,515 and critic 12,741,633 parameters. Adam 1.6e-4 and 1.25e-4, betas 0.5 and 0.9, batches
of 256."""

SMALL = DDGANConfig(
    patch=4,
    base=48,
    multipliers=(1,),
    blocks=1,
    attention=(),
    latent=32,
    style_width=64,
    mapping_layers=2,
    critic_network="strided",
    critic_base=32,
    critic_multipliers=(1, 2, 2),
    critic_time_width=64,
    penalty=0.5,
)
"""28x28 Fashion-MNIST on two CPU cores: 456,048 parameters at 7x7 blocks of 4x4 pixels, and 88,513 of the critic."""

DIGITS = replace(SMALL, patch=1, base=32)
"""8x8 digits in a minute on two CPU cores."""
