"""Whether a GAN goes wrong, from figures of its own training.

    distinct   the share of samples whose nearest other sample is farther from them than half of what lies, in the
               median, between an example of the data and the nearest other one                           (1)
    gap        P(D(x) > D(G(z))) - P(D(x) < D(G(z))), of all pairs of a batch                             (2)

(1) is near 1 where samples differ as data do, and 0 where they are all alike. (2) is 0 where the critic knows nothing,
1 where it tells every pair apart; a critic that rewards samples has -1. Both are of 64 examples of a batch at most, and
neither changes what is learned.
"""

from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

_MOST = 64  # examples that are looked at
_ROWS = 3  # of the log, that must agree
_ALIKE, _SURE = 0.1, 0.999
_HALF_SQUARED = 0.25


def distinct(samples: jax.Array, data: jax.Array) -> jax.Array:
    """(1), of ``[B, ...]`` of both."""
    if len(samples) < 2 or len(data) < 2:
        return jnp.ones(())
    return (_nearest(samples) > _HALF_SQUARED * jnp.median(_nearest(data))).mean()


def gap(real: jax.Array, fake: jax.Array) -> jax.Array:
    """(2), of logits ``[B]`` of both."""
    return jnp.sign(real[:_MOST, None] - fake[None, :_MOST]).mean()


def warning(rows: Sequence[Mapping[str, float]], saturating: Iterable[str]) -> str:
    """What the last rows of a log say is wrong, and what to try; nothing, where all is well.

    Args:
      rows: of ``metrics.jsonl``.
      saturating: the critics whose loss ceases to teach where they are sure.
    """
    last = rows[-_ROWS:]
    if len(last) < _ROWS:
        return ""
    alike = [row.get("generator/distinct", 1.0) for row in last]
    if max(alike) < _ALIKE:
        return (
            f"the generator has collapsed: its samples are nearly all alike, {alike[-1]:.2f} of them distinct where"
            " data have most; begin again with a penalty on the critic's gradient, a smaller learning rate, another"
            " seed, or a wasserstein, relativistic or hinge loss"
        )
    for name in saturating:
        sure = [abs(row.get(f"{name}/gap", 0.0)) for row in last]
        if min(sure) > _SURE:
            return (
                f"the {name} tells all that is generated from data, a gap of {sure[-1]:.4f}, and teaches the generator"
                " little more; give it a smaller learning rate, a penalty on its gradient, or augmentation"
                " (--augment.kind adaptive)"
            )
    return ""


def _nearest(x: jax.Array) -> jax.Array:
    """The squared distance of each to the nearest other."""
    rows = x[:_MOST].reshape(min(len(x), _MOST), -1).astype(jnp.float32)
    rows = rows - rows.mean(axis=0)  # or a common part would hide what is between them
    squares = jnp.square(rows).sum(axis=1)
    between = squares[:, None] + squares - 2 * rows @ rows.T
    return jnp.where(jnp.eye(len(rows), dtype=bool), jnp.inf, jnp.maximum(between, 0)).min(axis=1)
