"""Which noise an image of a batch is paired with in training.

Minibatch optimal transport: Tong et al. 2024 (arXiv:2302.00482), Pooladian et al. 2023 (arXiv:2304.14772). For images
x_i and noises eps_i, drawn independently,

(1) eps_p(i) in place of eps_i,  p the permutation of the batch with the least  sum_i |x_i - eps_p(i)|^2

Pairs of (1) lie closer together, their paths cross less, and a flow trained on them is straighter. The law of the noise
over all images is the same; that over the images of one class is not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Coupling = Callable[[jax.Array, jax.Array], jax.Array]  # x_0, noise, each [B, ...] -> the noise in another order


def independent(x_0: jax.Array, noise: jax.Array) -> jax.Array:
    """The noise as it was drawn."""
    return noise


def optimal(x_0: jax.Array, noise: jax.Array) -> jax.Array:
    """(1), exactly, over the whole batch; its work grows with the cube of the batch."""
    gain = jnp.einsum("id,jd->ij", *(jnp.reshape(a, (len(a), -1)) for a in (x_0, noise)))
    rows, columns = optax.assignment.hungarian_algorithm(-gain)  # the squares are the same for every permutation
    return noise[jnp.zeros_like(columns).at[rows].set(columns)]
