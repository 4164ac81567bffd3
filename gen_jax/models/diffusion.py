"""One denoiser, whatever its path, its network's task, its training times and its sampler.

Ho, Jain and Abbeel 2020 (arXiv:2006.11239), Song et al. 2021 (arXiv:2011.13456), Karras et al. 2022
(arXiv:2206.00364) and Lipman et al. 2023 (arXiv:2210.02747) differ in what they put into

(1) x_t = alpha_t x_0 + sigma_t eps                          the process
(2) L = E_t w_t E_eps mean over pixels (f - y)^2             f = F(in_t x_t, noise_t): the inputs; y: the prediction
(3) D(x_t, t) = E[x_0 | x_t], from f                         what samplers and likelihoods are made of

with times t of a given law, evenly spread over a batch. Classifier-free guidance: Ho and Salimans 2022
(arXiv:2207.12598).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.diffusion import samplers, training
from gen_jax.diffusion.coupling import Coupling, independent
from gen_jax.diffusion.guidance import classifier_free, clipped
from gen_jax.diffusion.likelihood import Evidence, Likelihood
from gen_jax.diffusion.precondition import Inputs
from gen_jax.diffusion.process import Denoise, Prediction, Process, against, denoiser
from gen_jax.interpolate import slerp
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

Sampler = Callable[[Process, Denoise, samplers.Times, jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True)
class Diffusion:
    """A game of one player, ``denoiser``."""

    shape: tuple[int, ...]
    classes: int
    network: Network  # F: in_t x_t [B, H, W, C], noise_t [B], class [B] or None -> [B, H, W, C]; `classes` is no class
    process: Process  # (1)
    inputs: Inputs  # in and noise of (2)
    prediction: Prediction  # y
    law: training.Law  # of the times in (2)
    weight: training.Weight  # w of (2)
    sampler: Sampler
    times: np.ndarray  # that the sampler visits, [S + 1], the first the noisiest
    evaluations: int  # of D, by the sampler
    likelihood: Likelihood
    limit: float = math.inf  # D is clipped to [-limit, limit]
    guidance: float = 1.0
    label_dropout: float = 0.1
    coupling: Coupling = independent
    makes: str = "image"
    largest: float = 1.0  # of the data: samples are clipped to [-largest, largest]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (2)."""
        return (Turn("denoiser", self.loss),)

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """Those of the sampler, twice as many with guidance."""
        return self.evaluations * (2 if self._guided else 1)

    @property
    def log_prob_kind(self) -> str:
        """That of the likelihood."""
        return self.likelihood.kind

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network's parameters and buffers."""
        params, buffers = self.network.init(key)
        return {"denoiser": params}, {"denoiser": buffers}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2): a mean over pixels, 1 at the start where y is eps and all times count alike."""
        keys = jax.random.split(key, 4)
        x_0 = batch[self.makes]
        t = self.law(training.spread(keys[0], x_0.shape[0]))
        noise = self.coupling(x_0, jax.random.normal(keys[1], x_0.shape))
        label = self.hidden_label(keys[2], batch)
        x_t = self.process.diffuse(x_0, noise, t)
        target = self.prediction.target(self.process, x_0, noise, t)
        prediction, carried = self.predict(params, buffers, x_t, t, label, key=keys[3], train=True)
        errors = against(self.weight(self.process, t), x_0) * (prediction - target) ** 2
        return jnp.mean(errors), Aux({}, {"denoiser": carried})

    def denoise(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """(3) at ``t [B]``, guided where the model is; without ``label [B]`` the unconditional one."""
        return self.denoiser(params, buffers, label)(x_t, t)

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` examples ``[n, ...]``; with classes, of those of ``label [n]``, or of any where none is given."""
        keys = jax.random.split(key)
        start = self._noise_scale() * jax.random.normal(keys[1], (n, *self.shape))
        x = self.sampler(self.process, self.denoiser(params, buffers, label), self.times, keys[0], start)
        return jnp.clip(x, -self.largest, self.largest)

    def encode(self, params: Params, buffers: Buffers, x: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """The noise ``[B, H, W, C]`` that :meth:`decode` turns into ``x``, to the precision of the steps."""
        return samplers.ddim_encode(self.process, self.denoiser(params, buffers, label), self.times, x)

    def decode(
        self, params: Params, buffers: Buffers, noise: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """The images of ``noise [B, H, W, C]`` by deterministic DDIM."""
        denoise = self.denoiser(params, buffers, label)
        return samplers.ddim(self.process, denoise, self.times, jax.random.key(0), noise)

    def interpolate(
        self,
        params: Params,
        buffers: Buffers,
        start: jax.Array,
        end: jax.Array,
        weights: jax.Array,
        *,
        label: jax.Array | None = None,
    ) -> jax.Array:
        """Images on the arc between the noises of two.

        Args:
          params: of all players.
          buffers: of all players.
          start: images ``[n, H, W, C]``.
          end: images ``[n, H, W, C]``.
          weights: ``[k]``; 0 is ``start`` and 1 is ``end``, as far as encoding and decoding keep them.
          label: ``[n]``, with classes.

        Returns:
          ``[n, k, H, W, C]``.
        """
        a, b = (self.encode(params, buffers, x, label=label).reshape(len(x), -1) for x in (start, end))
        along = jax.vmap(lambda weight: slerp(a, b, weight), out_axes=1)(weights)
        repeated = None if label is None else jnp.repeat(label, len(weights))
        images = self.decode(params, buffers, along.reshape(-1, *self.shape), label=repeated)
        return images.reshape(len(start), len(weights), *self.shape)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The log-probability of 8-bit images, nats ``[B]``, of the kind that :attr:`log_prob_kind` says."""
        return self.evidence(params, buffers, key, batch).log_prob

    def evidence(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> Evidence:
        """The log-probability, without guidance, and what it is made of: a bound's terms, or a flow's errors."""
        denoise = replace(self, guidance=1.0).denoiser(params, buffers, self.label(batch))
        return self.likelihood.evidence(self.process, denoise, key, batch[self.makes])

    def denoiser(self, params: Params, buffers: Buffers, label: jax.Array | None) -> Denoise:
        """(3) as a function of x_t and t alone, guided where the model is."""
        return self.finished(params, buffers, self._conditioned(params, buffers, label), label)

    def finished(self, params: Params, buffers: Buffers, denoise: Denoise, label: jax.Array | None) -> Denoise:
        """The denoiser of ``label`` guided by the unconditional one, and clipped, where the model is."""
        if self._guided and label is not None:
            denoise = classifier_free(denoise, self._conditioned(params, buffers, None), scale=self.guidance)
        return denoise if math.isinf(self.limit) else clipped(denoise, limit=self.limit)

    def predict(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, label: jax.Array | None, **options: Any
    ) -> tuple[jax.Array, Tree]:
        """F of (2), and the network's buffers."""
        seen = against(self.inputs.scale(self.process, t), x_t) * x_t
        told = self.inputs.noise(self.process, t)
        return self.network.apply(params["denoiser"], buffers["denoiser"], seen, told, label, **options)

    def label(self, batch: Batch) -> jax.Array | None:
        """The labels of a batch, or none where the model has no classes."""
        return batch["label"] if self.classes else None

    def hidden_label(self, key: jax.Array, batch: Batch) -> jax.Array | None:
        """The same with a share of ``label_dropout`` turned into no class."""
        label = self.label(batch)
        if label is None:
            return None
        return jnp.where(jax.random.bernoulli(key, self.label_dropout, label.shape), self.classes, label)

    @property
    def _guided(self) -> bool:
        return self.classes > 0 and self.guidance != 1.0

    def _noise_scale(self) -> jax.Array:
        # What the flow's likelihood takes the noise for: unit variance of the data, and the noise on them.
        first = jnp.asarray(self.times[0])
        return jnp.hypot(self.process.alpha(first), self.process.sigma(first))

    def _conditioned(self, params: Params, buffers: Buffers, label: jax.Array | None) -> Denoise:
        def predict(x_t: jax.Array, t: jax.Array) -> jax.Array:
            return self.predict(params, buffers, x_t, t, label)[0]

        return denoiser(self.process, predict, self.prediction)


def as_denoiser(player: str, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
    """Parameters and buffers of a player, as a diffusion has them."""
    return {"denoiser": params[player]}, {"denoiser": buffers[player]}


def twins(params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
    """A diffusion's parameters and buffers as those of a teacher, and of a student who begins as its copy."""
    student, carried = jax.tree.map(jnp.copy, (params["denoiser"], buffers["denoiser"]))  # the state is donated
    return {"student": student, "teacher": params["denoiser"]}, {"student": carried, "teacher": buffers["denoiser"]}
