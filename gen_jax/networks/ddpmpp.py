"""The networks of score SDEs, and of EDM on small images.

Song et al. 2021, arXiv 2011.13456 (DDPM++ and NCSN++); Karras et al. 2022, arXiv 2206.00364 (appendix C: the same with
other widths, told the class and how an image was augmented). The U-Net is :mod:`gen_jax.networks.ncsnpp`; what is here
is the condition of its blocks,

    h = features(t) + W sqrt(classes) onehot(label) + V augmentation                                           (1)
    condition = silu(W silu(W h))                                                                              (2)

    network              features           filter  feed           head        multipliers, blocks   parameters
    DDPM++               Sinusoids          BOX     none           FromLast    1 2 2 2         4      61,804,419
    NCSN++               RandomSinusoids    FIR     InputResidual  FromLast    1 2 2 2         4      62,758,787
    NCSN++, 256 pixels   RandomSinusoids    FIR     InputSkip      FromLevels  1 1 2 2 2 2 2   2      65,574,421
    EDM, 32 pixels: as DDPM++ and NCSN++ with multipliers 2 2 2, and 9 augmentations           4      55,733,891

at 128 channels, attention at 16 pixels and, in the first two, 8 blocks for the deep ones. Dropout is 0.1 there and 0.13
in EDM. The smallest one of the paper, "DDPM", is :class:`gen_jax.networks.unet.UNet` with ``attended_up=1``:
35,218,947.
"""

import math
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from gen_jax.networks.ncsnpp import FromLast, FromLevels, InputResidual, InputSkip, NCSNpp, half_block
from gen_jax.nn.embed import RandomSinusoids, Sinusoids
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import Condition, Keys, sizes
from gen_jax.nn.layers import WEIGHTS, GroupNorm
from gen_jax.nn.resample import BOX, Resampler
from gen_jax.nn.residual import Resample, ResidualBlock


class SongUNet(nnx.Module):
    """``x [B, H, W, channels], t [B], label [B], augmentation [B, k] -> [B, H, W, outputs]``.

    Args:
      size: height and width of the images.
      channels: of the images.
      base: width that ``multipliers`` multiply; the condition (2) is four times as wide.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: smaller sides of the levels with attention.
      features: of the time, :class:`~gen_jax.nn.embed.Sinusoids` or :class:`~gen_jax.nn.embed.RandomSinusoids`.
      resampler: ``BOX`` or ``FIR`` of :mod:`gen_jax.nn.resample`.
      feed: how levels meet the image again, of :mod:`gen_jax.networks.ncsnpp`; None for not at all.
      head: what comes out, of :mod:`gen_jax.networks.ncsnpp`.
      outputs: channels that come out; None for as many as go in.
      dropout: share of activations dropped in every block while training.
      classes: 0 for a network without labels; otherwise label ``classes`` is no label.
      augmentations: numbers that say how an image was augmented, 0 for a network that is not told.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        features: Callable[..., Sinusoids | RandomSinusoids] = Sinusoids,
        resampler: Resampler = BOX,
        feed: Callable[..., InputResidual | InputSkip] | None = None,
        head: Callable[..., FromLast | FromLevels] = FromLast,
        outputs: int | None = None,
        dropout: float = 0.0,
        classes: int = 0,
        augmentations: int = 0,
        rngs: nnx.Rngs,
    ):
        def block(inputs: int, outputs: int, resample: Resample | None) -> ResidualBlock:
            norms = GroupNorm(inputs, rngs=rngs), GroupNorm(outputs, rngs=rngs)
            return half_block(inputs, outputs, resample, norms=norms, shift_width=4 * base, dropout=dropout, rngs=rngs)

        self.condition = NoiseCondition(features(base, rngs=rngs), 4 * base, classes, augmentations, rngs=rngs)
        self.net = NCSNpp(
            size,
            channels,
            base=base,
            multipliers=multipliers,
            blocks=blocks,
            attention=[level for level, grid in enumerate(sizes(size, len(multipliers))) if min(grid) in attention],
            block=block,
            resampler=resampler,
            feed=feed,
            head=head,
            outputs=outputs,
            rngs=rngs,
        )

    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        augmentation: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class; no augmentation is one of zeros.

        ``t`` is the number whose features are taken: 0 .. 999 for DDPM++, log sigma for NCSN++, log(sigma) / 4 in EDM.
        """
        condition = Condition(shift=self.condition(t, label, augmentation).astype(x.dtype))
        return self.net(x, condition, Keys(key if train else None))


class NoiseCondition(nnx.Module):
    """(1) and (2): ``t [B], label [B], augmentation [B, k] -> [B, width]``."""

    def __init__(
        self,
        features: Sinusoids | RandomSinusoids,
        width: int,
        classes: int,
        augmentations: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.features, self.classes = features, classes
        self.first = nnx.Linear(features.width, width, kernel_init=WEIGHTS, rngs=rngs)
        self.second = nnx.Linear(width, width, kernel_init=WEIGHTS, rngs=rngs)
        self.label = nnx.Linear(classes, features.width, kernel_init=WEIGHTS, rngs=rngs) if classes else None
        self.augmentation = (
            nnx.Linear(augmentations, features.width, use_bias=False, kernel_init=WEIGHTS, rngs=rngs)
            if augmentations
            else None
        )

    def __call__(
        self, t: jax.Array, label: jax.Array | None = None, augmentation: jax.Array | None = None
    ) -> jax.Array:
        """See the class; a label beyond the classes, and none, have no one in their one-hot vector."""
        dtype = self.first.kernel.dtype
        h = self.features(t).astype(dtype)
        if self.label is not None:
            chosen = jax.nn.one_hot(self.classes if label is None else label, self.classes, dtype=dtype)
            h = h + self.label(math.sqrt(self.classes) * chosen)
        if self.augmentation is not None and augmentation is not None:
            h = h + self.augmentation(augmentation)
        return jax.nn.silu(self.second(jax.nn.silu(self.first(h))))
