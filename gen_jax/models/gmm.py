"""The Gaussian mixture, fitted by expectation maximisation: the classical baseline.

Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm"; the start: Arthur and
Vassilvitskii 2007, "k-means++: the advantages of careful seeding".

(1) p(x) = sum_k w_k N(x; m_k, C_k)             the mixture
(2) r_nk = w_k N(x_n; m_k, C_k) / p(x_n)        E-step: how much component k answers for example n
(3) w_k = n_k / N, n_k = sum_n r_nk             M-step
    m_k = sum_n r_nk x_n / n_k
    C_k = sum_n r_nk (x_n - m_k)(x_n - m_k)' / n_k + regularisation I

With regularisation 0 no step of (2) and (3) lowers the likelihood. Components are scanned over, so that never more than
one weighted copy of the data is in memory, and covariances are summed about their mean: in float32, E x^2 - m^2 would
cancel. A mixture is a dict of ``weights`` [K], ``means`` [K, D] and ``covariances`` [K, D, D], or [K, D] for
diagonal ones; D counts the pixels and channels of an image.
"""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, Number, plain
from gen_jax.fields import PIXELS, Fields, Kind, made_of
from gen_jax.protocol import Aux, Batch, Buffers, Params, Turn

Mixture = dict[str, jax.Array]
Covariance = Literal["full", "diagonal"]

# Accelerators multiply float32 in fewer bits unless told otherwise, and covariances do not survive that.
_multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def log_likelihood(mixture: Mixture, x: jax.Array) -> jax.Array:
    """The log of the density (1) at ``x [N, D]``, nats ``[N]``."""
    return jax.nn.logsumexp(joint_log_density(mixture, x), axis=0)


def em_step(mixture: Mixture, x: jax.Array, regularisation: float = 0.0) -> tuple[Mixture, jax.Array]:
    """One step of (2) and (3) on all of ``x [N, D]``.

    Returns:
      The new mixture, and the log-likelihood of ``x`` under the old one, nats ``[N]``.
    """
    joint = joint_log_density(mixture, x)
    evidence = jax.nn.logsumexp(joint, axis=0)
    return maximise(x, jnp.exp(joint - evidence), _kind(mixture), regularisation), evidence


def maximise(
    x: jax.Array,
    responsibilities: jax.Array,
    covariance: Covariance = "full",
    regularisation: float | jax.Array = 0.0,
) -> Mixture:
    """The M-step (3) for ``x [N, D]`` and ``responsibilities [K, N]``."""

    def component(_: None, r: jax.Array) -> tuple[None, tuple[jax.Array, jax.Array, jax.Array]]:
        count = r.sum() + 10 * jnp.finfo(x.dtype).eps  # a component that answers for nothing has no mean
        mean = _multiply(r, x) / count
        deviations = x - mean
        weighted = r[:, None] * deviations
        if covariance == "diagonal":
            return None, (count, mean, (weighted * deviations).sum(0) / count + regularisation)
        scatter = _multiply(weighted.T, deviations) / count
        return None, (count, mean, scatter + regularisation * jnp.eye(x.shape[1], dtype=x.dtype))

    _, (counts, means, covariances) = jax.lax.scan(component, None, responsibilities)
    return {"weights": counts / counts.sum(), "means": means, "covariances": covariances}


def sample(mixture: Mixture, key: jax.Array, n: int) -> jax.Array:
    """``n`` draws from (1), ``[n, D]``."""
    component_key, noise_key = jax.random.split(key)
    means = mixture["means"]
    chosen = jax.random.categorical(component_key, jnp.log(mixture["weights"]), shape=(n,))
    noise = jax.random.normal(noise_key, (n, means.shape[1]), means.dtype)

    def component(x: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        index, mean, covariance = inputs
        if covariance.ndim == 1:
            draws = noise * jnp.sqrt(covariance)
        else:
            draws = _multiply(noise, jnp.linalg.cholesky(covariance).T)
        return jnp.where((chosen == index)[:, None], mean + draws, x), None

    inputs = (jnp.arange(len(means)), means, mixture["covariances"])
    return jax.lax.scan(component, jnp.zeros_like(noise), inputs)[0]


def k_means_plus_plus(key: jax.Array, x: jax.Array, components: int) -> jax.Array:
    """``components`` rows of ``x [N, D]``, each drawn in proportion to the squared distance from those before."""
    first_key, key = jax.random.split(key)
    first = x[jax.random.randint(first_key, (), 0, len(x))]
    smallest = jnp.finfo(x.dtype).tiny  # where every row is a centre already, any will do

    def draw(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        centre, nearest = carry
        nearest = jnp.minimum(nearest, jnp.sum((x - centre) ** 2, axis=1))
        index = jax.random.categorical(key, jnp.log(jnp.maximum(nearest, smallest)))
        return (x[index], nearest), x[index]

    start = (first, jnp.full((len(x),), jnp.inf, x.dtype))
    _, others = jax.lax.scan(draw, start, jax.random.split(key, components - 1))
    return jnp.concatenate([first[None], others])


def k_means(x: jax.Array, centres: jax.Array, steps: int) -> jax.Array:
    """``centres [K, D]`` after so many steps of Lloyd's: each becomes the mean of the rows nearest to it."""

    def lloyd(centres: jax.Array, _: None) -> tuple[jax.Array, None]:
        nearest = _nearest(x, centres)
        counts = nearest.sum(1, keepdims=True)
        return jnp.where(counts > 0, _multiply(nearest, x) / jnp.maximum(counts, 1), centres), None

    return jax.lax.scan(lloyd, centres, length=steps)[0]


def initial_mixture(
    key: jax.Array,
    x: jax.Array,
    components: int,
    covariance: Covariance = "full",
    regularisation: float | jax.Array = 0.0,
    lloyd_steps: int = 10,
) -> Mixture:
    """The M-step (3) with every row of ``x [N, D]`` given to the nearest centre of k-means++ and Lloyd."""
    centres = k_means(x, k_means_plus_plus(key, x, components), lloyd_steps)
    return maximise(x, _nearest(x, centres), covariance, regularisation)


def _nearest(x: jax.Array, centres: jax.Array) -> jax.Array:
    """1 where row n is nearest to centre k, else 0, ``[K, N]``."""
    distances = jax.lax.map(lambda centre: jnp.sum((x - centre) ** 2, axis=1), centres)
    return jax.nn.one_hot(distances.argmin(0), len(centres), axis=0, dtype=x.dtype)


def _kind(mixture: Mixture) -> Covariance:
    return "full" if mixture["covariances"].ndim == 3 else "diagonal"


def joint_log_density(mixture: Mixture, x: jax.Array) -> jax.Array:
    """``log w_k N(x_n; m_k, C_k)``, nats ``[K, N]``."""
    constant = -0.5 * x.shape[1] * jnp.log(2 * jnp.pi)

    def component(_: None, inputs: tuple[jax.Array, ...]) -> tuple[None, jax.Array]:
        weight, mean, covariance = inputs
        deviations = x - mean
        if covariance.ndim == 1:
            whitened = deviations / jnp.sqrt(covariance)
            half_log_determinant = 0.5 * jnp.log(covariance).sum()
        else:
            root = jnp.linalg.cholesky(covariance)
            # One small solve and a product: a third of the time of solving for every row.
            inverse = jax.scipy.linalg.solve_triangular(root, jnp.eye(len(root), dtype=x.dtype), lower=True)
            whitened = _multiply(deviations, inverse.T)
            half_log_determinant = jnp.log(jnp.diagonal(root)).sum()
        return None, jnp.log(weight) + constant - half_log_determinant - 0.5 * (whitened**2).sum(1)

    return jax.lax.scan(component, None, (mixture["weights"], mixture["means"], mixture["covariances"]))[1]


@dataclass(frozen=True)
class GMM:
    """A game of one player, ``mixture``, who has no parameters: its mixture is in the buffers, and a step is one of EM.

    It is exact EM if the batch is the whole data set, which it is unless another is asked for; a step forgets all but
    its own batch. Labels are ignored.
    """

    shape: tuple[int, ...]
    components: int
    covariance: Covariance = "full"
    regularisation: float = 1e-3
    lloyd_steps: int = 10
    makes: str = "image"
    kind: Kind = PIXELS

    given: ClassVar[tuple[str, ...]] = ()
    whole_set: ClassVar[bool] = True  # what it is fitted to at once, unless a batch is asked for

    @property
    def log_prob_kind(self) -> str:
        """A lower bound for pixels, which are dequantised; exact for real numbers."""
        return "lower bound" if self.kind.level else "exact"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: an EM step on the batch."""
        return (Turn("mixture", self.negative_log_likelihood),)

    @property
    def network_evaluations(self) -> int:
        """One draw."""
        return 1

    @property
    def dimensions(self) -> int:
        """Numbers of an example."""
        return math.prod(self.shape)

    @property
    def free_parameters(self) -> int:
        """Numbers that define the mixture, which are in its buffers."""
        d = self.dimensions
        one = d + (d * (d + 1) // 2 if self.covariance == "full" else d)
        return self.components * one + self.components - 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The mixture of the batch's k-means clusters."""
        x = self._flat(batch[self.makes])
        if len(x) < self.components:
            raise ValueError(
                f"{self.components} components need as many images to start from, got a batch of {len(x)}; give the"
                " whole data set as one batch, or ask for fewer components"
            )
        mixture = initial_mixture(key, x, self.components, self.covariance, self.regularisation, self.lloyd_steps)
        return {"mixture": {}}, {"mixture": mixture}

    def negative_log_likelihood(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """Minus the log-probability of 8-bit images, nats per example, and the EM step from them.

        The step is taken on dequantised images, as the density is one of these.
        """
        x = self._flat(distributions.dequantise(key, batch[self.makes], self.kind.level))
        mixture, log_density = em_step(buffers["mixture"], x, self.regularisation)
        mass = log_density.mean() + self.dimensions * distributions.log_level(self.kind.level)
        metrics = {"log_likelihood": mass, "smallest_weight": mixture["weights"].min()}
        return -mass, Aux(metrics, {"mixture": mixture})

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Draws from (1), clipped to where the data lie."""
        x = sample(buffers["mixture"], key, n)
        return jnp.clip(x, -self.kind.limit, self.kind.limit).reshape(n, *self.shape)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """Log-probability of 8-bit images or log-density of real numbers, nats ``[B]``.

        Of images, the density (1) at one dequantised copy of each: in the mean over the key, a lower bound.
        """
        x = self._flat(distributions.dequantise(key, batch[self.makes], self.kind.level))
        return log_likelihood(buffers["mixture"], x) + self.dimensions * distributions.log_level(self.kind.level)

    def _flat(self, x: jax.Array) -> jax.Array:
        if x.shape[1:] != self.shape:
            raise ValueError(f"expected examples of shape {self.shape}, got {x.shape[1:]}")
        return x.reshape(x.shape[0], self.dimensions)


@plain
class GMMConfig:
    """A Gaussian mixture."""

    components: Count = 10
    """Gaussians in the mixture."""
    covariance: Covariance = "full"
    """Whether pixels of one component are correlated."""
    regularisation: Amount = 1e-3
    """Variance added to every pixel, whose range is [-1, 1]; below 1e-4, float32 may fail at 28x28."""
    lloyd_steps: Number = 10
    """Steps of k-means before the first of EM. Without them, full covariances freeze the first assignment."""

    def build(self, fields: Fields) -> GMM:
        """The game for images, or for an array of real numbers; labels are not used."""
        name, field = made_of(fields)
        numbers = self.components, self.covariance, self.regularisation, self.lloyd_steps
        return GMM(field.shape, *numbers, makes=name, kind=field.kind)


REFERENCE = GMMConfig(components=50)
"""A strong baseline: with one Gaussian for every fifth of a class of ten."""
SMALL = GMMConfig()
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU, a handful of seconds a step."""
