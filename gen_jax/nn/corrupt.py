"""What an autoencoder's input loses: noise on all numbers, some of them, or a part of an image.

Each draws from its key with the example axis first. A mask is 1 where something is hidden, [B, H, W, 1].

(1) gaussian         x + sigma e, e ~ N(0, I)
(2) masking          each number is ``low`` with a probability
(3) salt and pepper  each number is ``-limit`` or ``limit``, one as likely as the other, with a probability
(4) block            a rectangle of half the height and half the width, rounded up, at a place drawn uniformly
(5) half             the upper, lower, left or right half, rounded up, one as likely as the other
"""

import jax
import jax.numpy as jnp


def gaussian(key: jax.Array, x: jax.Array, *, sigma: float) -> jax.Array:
    """(1)."""
    return x + sigma * jax.random.normal(key, x.shape)


def masking(key: jax.Array, x: jax.Array, *, share: float, low: float) -> jax.Array:
    """(2) with probability ``share``."""
    return jnp.where(jax.random.uniform(key, x.shape) < share, low, x)


def salt_and_pepper(key: jax.Array, x: jax.Array, *, share: float, limit: float) -> jax.Array:
    """(3) with probability ``share``."""
    u = jax.random.uniform(key, x.shape)
    return jnp.where(u < share, jnp.where(u < share / 2, -limit, limit), x)


def block(key: jax.Array, n: int, height: int, width: int) -> jax.Array:
    """(4) of ``n`` images."""
    tall, wide = -(-height // 2), -(-width // 2)
    most = jnp.asarray([height - tall + 1, width - wide + 1])
    top, left = jnp.floor(jax.random.uniform(key, (n, 2)) * most).T[..., None]
    rows, columns = jnp.arange(height), jnp.arange(width)
    inside_rows = (rows >= top) & (rows < top + tall)
    inside_columns = (columns >= left) & (columns < left + wide)
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[..., None].astype(jnp.float32)


def half(key: jax.Array, n: int, height: int, width: int) -> jax.Array:
    """(5) of ``n`` images."""
    tall, wide = -(-height // 2), -(-width // 2)
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    sides = [rows < tall, rows >= height - tall, columns < wide, columns >= width - wide]
    masks = jnp.stack([jnp.broadcast_to(side, (height, width)) for side in sides])
    return masks[jax.random.randint(key, (n,), 0, 4)][..., None].astype(jnp.float32)
