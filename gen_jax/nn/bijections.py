"""Invertible layers whose change of volume is known: parts of normalising flows.

Dinh, Sohl-Dickstein and Bengio 2017, "Density estimation using Real NVP" (arXiv:1605.08803), couplings and squeeze;
Kingma and Dhariwal 2018, "Glow" (arXiv:1807.03039), activation normalisation and 1x1 convolutions; Papamakarios,
Pavlakou and Murray 2017, "Masked autoregressive flow" (arXiv:1705.07057), on the masks of Germain et al. 2015
(arXiv:1502.03509).

Every layer has ``forward(x [B, ...]) -> y, log|det dy/dx| [B]`` and ``inverse(y) -> x``, of the same shape but where
it says otherwise, so that layers stand in any order. With f an elementwise transform of raw parameters r:

(1) coupling        y_i = x_i where the mask m is True, else f(x_i; r_i(m x))
(2) autoregressive  y_i = f(x_i; r_i(x_1 .. x_i-1)); its inverse takes one pass a number
(3) normalisation   y = (x - a) exp(-b), a channel each; begun at mean and deviation of the first batch
(4) linear          y = W x over channels, W = P L (U + diag(s)); begun as a rotation
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gen_jax.nn.functional import parameters
from gen_jax.nn.transforms import Transform
from gen_jax.protocol import Tree

Shape = tuple[int, ...]
Mask = Callable[[Shape], np.ndarray]
SMALLEST_DEVIATION = 1e-3

# Accelerators multiply float32 in fewer bits unless told otherwise, and an inverse would not find back.
_multiply = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Bijection(Protocol):
    """What a layer is; one that begins with data has ``start(x)`` besides, which sets its parameters."""

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and log|det dy/dx|, nats ``[B]``."""
        ...

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``."""
        ...


def alternating(shape: Shape, parity: int) -> np.ndarray:
    """True on every second number of a vector, on every second pixel of an image, as on a chessboard."""
    places = shape[:-1] if len(shape) > 1 else shape
    board = np.indices(places).sum(0) % 2 == parity
    return np.broadcast_to(board if len(shape) == 1 else board[..., None], shape)


def halves(shape: Shape, parity: int) -> np.ndarray:
    """True on one half of the channels."""
    return np.broadcast_to((np.arange(shape[-1]) < shape[-1] // 2) == (parity == 0), shape)


class Coupling(nnx.Module):
    """(1); the conditioner maps ``[B, *shape]`` to ``[B, *shape, parameters of the transform]``."""

    def __init__(self, shape: Shape, mask: Mask, transform: Transform, conditioner: nnx.Module):
        self.shape, self.mask, self.transform, self.conditioner = shape, mask, transform, conditioner

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant."""
        kept, raw = self._told(x)
        y, log_derivative = self.transform.forward(x, raw)
        return jnp.where(kept, x, y), _sum(jnp.where(kept, 0.0, log_derivative))

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``, whose kept numbers are those of ``x``."""
        kept, raw = self._told(y)
        return jnp.where(kept, y, self.transform.inverse(y, raw))

    def _told(self, x: jax.Array) -> tuple[np.ndarray, jax.Array]:
        kept: Any = self.mask(self.shape)
        conditioner: Any = self.conditioner
        return kept, conditioner(jnp.where(kept, x, 0.0))


class Autoregressive(nnx.Module):
    """(2), by a perceptron of masked weights; ``backwards`` takes the numbers of an example from last to first."""

    def __init__(
        self, shape: Shape, hidden: Sequence[int], transform: Transform, *, backwards: bool = False, rngs: nnx.Rngs
    ):
        self.shape, self.hidden, self.transform, self.backwards = shape, tuple(hidden), transform, backwards
        numbers = math.prod(shape)
        widths = (numbers, *hidden)
        begin = nnx.initializers.lecun_normal()
        self.kernels = nnx.List(nnx.Param(begin(rngs.params(), pair)) for pair in itertools.pairwise(widths))
        self.biases = nnx.List(nnx.Param(jnp.zeros(width)) for width in hidden)
        self.last = nnx.Param(jnp.zeros((widths[-1], numbers, transform.parameters)))
        self.last_bias = nnx.Param(jnp.zeros((numbers, transform.parameters)))

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant, in one pass."""
        y, log_derivative = self.transform.forward(x, self._told(x))
        return y, _sum(log_derivative)

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``: each pass makes one number more right, and leaves those that are."""

        def right(_: jax.Array, x: jax.Array) -> jax.Array:
            return self.transform.inverse(y, self._told(x))

        return jax.lax.fori_loop(0, math.prod(self.shape), right, jnp.zeros_like(y))

    def _told(self, x: jax.Array) -> jax.Array:
        masks, h = self._masks(), x.reshape(x.shape[0], -1)
        for kernel, bias, mask in zip(self.kernels, self.biases, masks):
            h = jnp.tanh(_multiply(h, kernel[...] * mask) + bias[...])
        last = self.last[...] * masks[-1][..., None]
        raw = _multiply(h, last.reshape(len(last), -1)).reshape(-1, *last.shape[1:]) + self.last_bias[...]
        return raw.reshape(*x.shape, -1)

    def _masks(self) -> list[np.ndarray]:
        """A unit of degree d sees those of at most d; a number of degree d is told by units of less."""
        numbers = math.prod(self.shape)
        order = np.arange(numbers)[:: -1 if self.backwards else 1] + 1
        # Spread up to the last but one, or few units would leave most numbers unseen.
        spread = (np.ceil((np.arange(width) + 1) * (numbers - 1) / width) for width in self.hidden)
        degrees = [order, *(np.maximum(degree, 1) for degree in spread)]
        between = [a[:, None] <= b for a, b in itertools.pairwise(degrees)]
        return [*between, degrees[-1][:, None] < order]


class ActNorm(nnx.Module):
    """(3), over the last axis."""

    def __init__(self, shape: Shape):
        self.mean, self.log_deviation = (nnx.Param(jnp.zeros(shape[-1])) for _ in range(2))
        self.places = math.prod(shape[:-1])

    def start(self, x: jax.Array) -> None:
        """So that ``forward(x)`` has mean 0 and deviation 1 in each channel."""
        axes = tuple(range(x.ndim - 1))
        self.mean[...] = x.mean(axes)
        self.log_deviation[...] = jnp.log(jnp.maximum(x.std(axes), SMALLEST_DEVIATION))

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant."""
        y = (x - self.mean[...]) * jnp.exp(-self.log_deviation[...])
        return y, jnp.full(x.shape[0], -self.places * self.log_deviation[...].sum())

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``."""
        return y * jnp.exp(self.log_deviation[...]) + self.mean[...]


class Linear(nnx.Module):
    """(4), over the last axis: of images a 1x1 convolution. P and the signs of s stay as they began."""

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        rotation = jax.random.orthogonal(rngs.params(), shape[-1])
        permutation, lower, upper = jax.scipy.linalg.lu(rotation)
        scale = jnp.diagonal(upper)
        self.lower, self.upper = nnx.Param(lower), nnx.Param(upper)
        self.log_scale = nnx.Param(jnp.log(jnp.abs(scale)))
        self.permutation, self.sign = nnx.BatchStat(permutation), nnx.BatchStat(jnp.sign(scale))
        self.places = math.prod(shape[:-1])

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant."""
        permutation, lower, upper = self._factors()
        y = _multiply(x, _multiply(permutation, _multiply(lower, upper)).T)
        return y, jnp.full(x.shape[0], self.places * self.log_scale[...].sum())

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``, by two triangular systems."""
        permutation, lower, upper = self._factors()
        columns = _multiply(y.reshape(-1, y.shape[-1]), permutation).T
        between = jax.scipy.linalg.solve_triangular(lower, columns, lower=True, unit_diagonal=True)
        return jax.scipy.linalg.solve_triangular(upper, between).T.reshape(y.shape)

    def _factors(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        # Averages of ones and zeros may be a rounding away from them.
        permutation, sign = (jnp.round(kept[...]) for kept in (self.permutation, self.sign))
        lower = jnp.tril(self.lower[...], -1) + jnp.eye(len(permutation))
        upper = jnp.triu(self.upper[...], 1) + jnp.diag(sign * jnp.exp(self.log_scale[...]))
        return permutation.astype(lower.dtype), lower, upper.astype(lower.dtype)


class Squeeze(nnx.Module):
    """Blocks of ``factors`` (down, across) pixels become channels: ``[B, H, W, C] -> [B, H / h, W / w, h w C]``."""

    def __init__(self, factors: tuple[int, int]):
        self.factors = factors

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y``, and 0."""
        (down, across), (batch, height, width, channels) = self.factors, x.shape
        blocks = x.reshape(batch, height // down, down, width // across, across, channels)
        y = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // down, width // across, -1)
        return y, jnp.zeros(batch, x.dtype)

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``."""
        (down, across), (batch, height, width, _) = self.factors, y.shape
        blocks = y.reshape(batch, height, width, down, across, -1).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(batch, height * down, width * across, -1)


class Logit(nnx.Module):
    """Numbers within ``limit`` of 0 to the logit of a share of (0, 1), which leaves ``margin`` at either end."""

    def __init__(self, limit: float, margin: float = 0.05):
        self.limit, self.scale = limit, (1 - 2 * margin) / (2 * limit)

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant."""
        share = 0.5 + self.scale * x
        low, high = jnp.log(share), jnp.log1p(-share)
        return low - high, _sum(math.log(self.scale) - low - high)

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``; of what lies in the margins, outside the limit."""
        return jnp.tanh(y / 2) / (2 * self.scale)


class Chain(nnx.Module):
    """One layer after the other."""

    def __init__(self, layers: Sequence[Any]):
        self.layers = nnx.List(layers)

    def forward(self, x: jax.Array, **_: Any) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant."""
        total = jnp.zeros(x.shape[0], x.dtype)
        for layer in self.layers:
            x, log_determinant = layer.forward(x)
            total = total + log_determinant
        return x, total

    def inverse(self, y: jax.Array, **_: Any) -> jax.Array:
        """The ``x`` of ``y``."""
        for layer in reversed(self.layers):
            y = layer.inverse(y)
        return y

    def start(self, x: jax.Array) -> None:
        """Every layer at what those before make of ``x``."""
        for layer in self.layers:
            if hasattr(layer, "start"):
                layer.start(x)
            x, _ = layer.forward(x)

    def started(self, x: jax.Array, **_: Any) -> Tree:
        """The parameters after :meth:`start`."""
        self.start(x)
        return parameters(self)


class Deeper(nnx.Module):
    """A layer within another room: after ``there`` on the first half of the channels, and back again.

    The other half is done, and stays as it is: the scales of Real NVP.
    """

    def __init__(self, there: Squeeze, before: Chain, within: Chain):
        self.there, self.before, self.within = there, before, within

    def forward(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``y`` and its log-determinant."""
        y, first = self.before.forward(self.there.forward(x)[0])
        kept, done = _halved(y)
        kept, second = self.within.forward(kept)
        return self.there.inverse(jnp.concatenate([kept, done], -1)), first + second

    def inverse(self, y: jax.Array) -> jax.Array:
        """The ``x`` of ``y``."""
        kept, done = _halved(self.there.forward(y)[0])
        return self.there.inverse(self.before.inverse(jnp.concatenate([self.within.inverse(kept), done], -1)))

    def start(self, x: jax.Array) -> None:
        """Both chains."""
        x = self.there.forward(x)[0]
        self.before.start(x)
        self.within.start(_halved(self.before.forward(x)[0])[0])


def _halved(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(axis=tuple(range(1, x.ndim)))
