"""Weights divided by their largest singular value.

Miyato, Kataoka, Koyama and Yoshida 2018, "Spectral normalization for generative adversarial networks"
(arXiv:1802.05957). A kernel W is seen as a matrix of as many rows as outputs; u is carried from step to step, and one
step of the power method is taken in every training pass:

    v = W^T u / ||W^T u||,   u = W v / ||W v||,   sigma = u^T W v,   W / sigma                            (1)

u and v are constants to the gradient, which is that of sigma in W alone: with G that of the quotient,

    dL / dW = (G - <G, W / sigma> u v^T) / sigma                                                          (2)

A layer begins with steps of the method behind it, since from a random u sigma is too small. Otherwise than in training
u stays as it is. All is in float32, whatever the type of W.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import stop_gradient

from gen_jax.nn.conv import Padding, convolve
from gen_jax.protocol import Tree

_FIRST = 15  # steps of the power method at the beginning
_EPSILON = 1e-12


class SpectralNorm(nnx.Module):
    """(1) of kernels ``[..., outputs]`` of one layer, which is given to begin with."""

    def __init__(self, kernel: jax.Array, *, rngs: nnx.Rngs):
        matrix, u = _matrix(kernel), jax.random.normal(rngs.params(), (kernel.shape[-1],))
        self.u = nnx.BatchStat(jax.lax.fori_loop(0, _FIRST, lambda _, u: _power(matrix, u)[0], u))

    def __call__(self, kernel: jax.Array, *, train: bool) -> jax.Array:
        """The kernel divided by sigma, in its own type."""
        matrix, u = _matrix(kernel), self.u[...]
        after, v = _power(stop_gradient(matrix), u)
        if train:
            u = after
            self.u[...] = u
        sigma = u @ matrix @ v
        return (kernel.astype(jnp.float32) / sigma).astype(kernel.dtype)


class SpectralConv(nnx.Module):
    """A convolution with a square kernel under (1): ``[B, H, W, inputs] -> [B, H', W', outputs]``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        padding: Padding = "SAME",
        kernel_init: nnx.Initializer = nnx.initializers.glorot_uniform(),
        rngs: nnx.Rngs,
    ):
        self.padding = padding
        self.kernel = nnx.Param(kernel_init(rngs.params(), (kernel, kernel, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,)))
        self.norm = SpectralNorm(self.kernel[...], rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """See the class."""
        return convolve(x, self.norm(self.kernel[...], train=train), padding=self.padding) + self.bias[...]


class SpectralLinear(nnx.Module):
    """A dense layer without bias under (1): ``[B, inputs] -> [B, outputs]``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel_init: nnx.Initializer = nnx.initializers.glorot_uniform(),
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(kernel_init(rngs.params(), (inputs, outputs), jnp.float32))
        self.norm = SpectralNorm(self.kernel[...], rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """See the class."""
        return x @ self.norm(self.kernel[...], train=train)


class SpectralEmbed(nnx.Module):
    """Rows of a table under (1): ``label [B] -> [B, width]``."""

    def __init__(self, classes: int, width: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.glorot_uniform()
        self.table = nnx.Param(init(rngs.params(), (classes, width), jnp.float32))
        self.norm = SpectralNorm(self.table[...], rngs=rngs)

    def __call__(self, label: jax.Array, *, train: bool = False) -> jax.Array:
        """See the class."""
        return self.norm(self.table[...], train=train)[label]


def _matrix(kernel: jax.Array) -> jax.Array:
    """``[outputs, all else]``, float32."""
    return kernel.astype(jnp.float32).reshape(-1, kernel.shape[-1]).T


def _power(matrix: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A step of (1): u and v."""
    v = _unit(u @ matrix)
    return _unit(matrix @ v), v


def _unit(x: jax.Array) -> jax.Array:
    return x / (jnp.linalg.norm(x) + _EPSILON)


def singular_vectors(key: jax.Array, params: Tree) -> dict[str, jax.Array]:
    """Random vectors u to begin (1) with for every kernel of a network's parameters, by its path."""
    kernels = _kernels(params)
    keys = jax.random.split(key, len(kernels))
    return {
        path: _unit(jax.random.normal(own, (kernel.shape[-1],)))
        for own, (path, kernel) in zip(keys, kernels.items(), strict=True)
    }


def largest_singular_values(params: Tree, vectors: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The sum over all kernels of sigma in (1), after one step of the power method, and the vectors behind it."""
    total, after = jnp.zeros(()), {}
    for path, kernel in _kernels(params).items():
        matrix = _matrix(kernel)
        u, v = _power(stop_gradient(matrix), vectors[path])
        total, after[path] = total + u @ matrix @ v, u
    return total, after


def _kernels(params: Tree) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    by_path = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    return {path: leaf for path, leaf in by_path.items() if path.endswith("kernel")}
