"""Critics that see augmented examples, and how often they are augmented while they learn.

Zhao et al. 2020 (arXiv:2006.10738) and Karras et al. 2020 (arXiv:2006.06676); what is done to examples:
:mod:`gen_jax.nn.augment`. Wherever such a critic is given a key, real and generated examples are augmented before it
sees them, and gradients pass through. Where the share p adapts itself, with r the mean sign of the logits of real
examples over the last four batches of B,

    p <- p + sign(r - target) 4 B / images,   between 0 and 1                                             (1)

so that with a target of 0.6 a critic that begins to know its examples by heart sees more of other ones.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Count, Real, Share, plain
from gen_jax.nn.augment import differentiable, pipe
from gen_jax.protocol import Network, Tree

Transform = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # examples, key, p -> examples
_BATCHES = 4  # from one change of p to the next


@plain
class Augmentation:
    """What is done to images before a critic sees them, as plain data."""

    kind: Literal["none", "differentiable", "pipe", "adaptive"] = "none"
    """(1) of gen_jax.nn.augment, always; (2) there, with a share that stays; the same with one that adapts itself."""
    share: Share = 0.0
    """Probability of each change of "pipe" and, at first, of "adaptive"."""
    target: Real = 0.6
    """Of the mean sign of real logits, for "adaptive"."""
    images: Count = 500_000
    """In so many real images the share can go from 0 to 1."""

    def __post_init__(self) -> None:
        if self.kind == "pipe" and not self.share:
            raise ValueError("share: expected more than 0 with kind 'pipe', got 0, which changes nothing")

    def applied(self, critic: Network) -> Network:
        """The critic, ``x [B, H, W, C], label -> logits``, behind the augmentation."""
        if self.kind == "none":
            return critic
        if self.kind == "differentiable":
            return augmented(critic, lambda x, key, share: differentiable(x, key), 1.0)
        return augmented(critic, pipe, self.share)

    @property
    def adapt(self) -> Callable[[Tree, jax.Array], tuple[Tree, Mapping[str, jax.Array]]]:
        """From a critic's buffers and the logits of real examples to its next buffers and figures to log."""
        if self.kind != "adaptive":
            return unadapted
        return partial(adapted, target=self.target, images=self.images)


def augmented(net: Network, transform: Transform, share: float) -> Network:
    """``net`` behind ``transform`` at p = ``share``, which is carried in its buffers."""

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        params, buffers = net.init(key)
        counted = {name: jnp.zeros(()) for name in ("signs", "seen", "batches")}
        return params, {"network": buffers, "share": jnp.asarray(share, jnp.float32), **counted}

    def apply(
        params: Tree,
        buffers: Tree,
        x: jax.Array,
        *told: Any,
        key: jax.Array | None = None,
        train: bool = False,
        method: Callable[..., Any] | None = None,
    ) -> tuple[Any, Tree]:
        if key is not None:
            x = transform(x, jax.random.fold_in(key, 1), buffers["share"])
        output, carried = net.apply(
            params, buffers["network"], x, *told, key=key if train else None, train=train, method=method
        )
        return output, {**buffers, "network": carried}

    return Network(init, apply)


def unadapted(buffers: Tree, logits: jax.Array) -> tuple[Tree, Mapping[str, jax.Array]]:
    """The buffers as they are."""
    return buffers, {}


def adapted(buffers: Tree, logits: jax.Array, *, target: float, images: int) -> tuple[Tree, Mapping[str, jax.Array]]:
    """(1), of the logits of real examples ``[B]``."""
    signs = buffers["signs"] + jnp.sign(logits).sum()
    seen, batches = buffers["seen"] + len(logits), buffers["batches"] + 1
    is_due = batches >= _BATCHES
    step = jnp.sign(signs / seen - target) * seen / images
    share = jnp.where(is_due, jnp.clip(buffers["share"] + step, 0, 1), buffers["share"])
    signs, seen, batches = (jnp.where(is_due, 0.0, count) for count in (signs, seen, batches))
    carried = {**buffers, "share": share, "signs": signs, "seen": seen, "batches": batches}
    return carried, {"augmented_share": share}
