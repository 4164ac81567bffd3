"""The networks that diffusions denoise with, from the plain data of a configuration.

    network        what it is                                                            module
    unet           Ho's U-Net with attention in the middle; the one that takes patches   :mod:`gen_jax.networks.unet`
    ddpm++         of score SDEs: VP and sub-VP; of EDM on small images                  :mod:`gen_jax.networks.ddpmpp`
    ncsn++         of score SDEs: VE; of CLD                                             :mod:`gen_jax.networks.ddpmpp`
    ncsn++ smooth  the same with random frequencies of deviation 0.02: of consistency    :mod:`gen_jax.networks.ddpmpp`
    iddpm          of improved DDPM                                                      :mod:`gen_jax.networks.adm`
    adm            of guided diffusion, heads of 64 channels                             :mod:`gen_jax.networks.adm`
    vdm            of variational diffusion, which keeps the resolution                  :mod:`gen_jax.networks.vdm`
    dit            ``channels`` wide, ``blocks`` deep, heads of 64 channels              :mod:`gen_jax.networks.dit`

Which of them a model offers, and in what unit each is told the noise, is said by the model.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gen_jax.networks.adm import ADM, by_convolution
from gen_jax.networks.ddpmpp import SongUNet
from gen_jax.networks.dit import DiT
from gen_jax.networks.ncsnpp import InputResidual
from gen_jax.networks.unet import UNet
from gen_jax.networks.vdm import VDMUNet
from gen_jax.nn.embed import RandomSinusoids
from gen_jax.nn.fit import Size, padded
from gen_jax.nn.functional import network
from gen_jax.nn.ladder import MULTIPLE
from gen_jax.nn.resample import FIR
from gen_jax.protocol import Network


class Sizes(Protocol):
    """The fields of a configuration that say how its network is built."""

    @property
    def network(self) -> str:
        """One of :data:`NETWORKS`."""
        ...

    @property
    def channels(self) -> int:
        """Of the first level."""
        ...

    @property
    def multipliers(self) -> tuple[int, ...]:
        """Of ``channels``, one a level."""
        ...

    @property
    def blocks(self) -> int:
        """Per level on the way down."""
        ...

    @property
    def attention(self) -> tuple[int, ...]:
        """Sides, in patches, of the levels that have it."""
        ...

    @property
    def dropout(self) -> float:
        """Share of activations dropped in training."""
        ...

    @property
    def patch(self) -> int:
        """Side of the blocks of pixels taken as channels."""
        ...


def denoiser_network(sizes: Sizes, shape: tuple[int, int, int], classes: int, *, outputs: int | None = None) -> Network:
    """The network that a configuration asks for: images ``[B, H, W, C]``, labels of noise ``[B]``, class or None.

    Args:
      sizes: the configuration.
      shape: H, W, C of what the network sees.
      classes: 0 for none; label ``classes`` is no class.
      outputs: channels of what comes back, if other than C.

    Raises:
      ValueError: if a number is out of range or without meaning to the network.
    """
    if sizes.patch < 1:
        raise ValueError(f"expected a patch of at least 1, got {sizes.patch}; try 1, 2 or 4")
    if sizes.channels < 4 or sizes.channels % 2:
        raise ValueError(f"expected channels even and at least 4, as they hold sines, got {sizes.channels}")
    if not sizes.multipliers or min(*sizes.multipliers, sizes.blocks) < 1:
        raise ValueError(f"expected multipliers and blocks of at least 1, got {sizes.multipliers} and {sizes.blocks}")
    if not 0 <= sizes.dropout < 1:
        raise ValueError(f"expected dropout between 0 and 1, got {sizes.dropout}")
    height, width, channels = shape
    make = partial(NETWORKS[sizes.network], sizes, channels=channels, classes=classes, outputs=outputs)
    return padded(make, (height, width), math.lcm(MULTIPLE, sizes.patch))


def _with_levels(module: Callable[..., Any], sizes: Sizes, **options: Any) -> Network:
    levels = {"base": sizes.channels, "multipliers": tuple(sizes.multipliers), "blocks": sizes.blocks}
    return network(module, **levels, attention=tuple(sizes.attention), dropout=sizes.dropout, **options)


def _of_pixels(module: Callable[..., Any], sizes: Sizes, **options: Any) -> Network:
    _expect(sizes, patch=1)
    return _with_levels(module, sizes, **options)


def _of_patches(sizes: Sizes, **options: Any) -> Network:
    return _with_levels(UNet, sizes, patch=sizes.patch, **options)


def _of_one_level(sizes: Sizes, *, size: Size, outputs: int | None, **options: Any) -> Network:
    _expect(sizes, patch=1, multipliers=(1,), attention=())
    return network(VDMUNet, base=sizes.channels, blocks=sizes.blocks, dropout=sizes.dropout, **options)


def _of_tokens(sizes: Sizes, **options: Any) -> Network:
    _expect(sizes, multipliers=(1,), attention=(), dropout=0.0)
    heads = max(sizes.channels // 64, 1)
    return network(DiT, patch=sizes.patch, width=sizes.channels, layers=sizes.blocks, heads=heads, **options)


def _expect(sizes: Sizes, **wanted: Any) -> None:
    for name, value in wanted.items():
        got = getattr(sizes, name)
        if (tuple(got) if isinstance(got, list) else got) != value:
            raise ValueError(f"expected {name} {value} with network {sizes.network!r}, got {got}; change either")


NCSNPP: dict[str, Any] = {"resampler": FIR, "feed": InputResidual}

NETWORKS: dict[str, Callable[..., Network]] = {
    "unet": _of_patches,
    "ddpm++": partial(_of_pixels, SongUNet),
    "ncsn++": partial(_of_pixels, SongUNet, features=RandomSinusoids, **NCSNPP),
    "ncsn++ smooth": partial(_of_pixels, SongUNet, features=partial(RandomSinusoids, scale=0.02), **NCSNPP),
    "iddpm": partial(_of_pixels, ADM, heads=4, between=by_convolution),
    "adm": partial(_of_pixels, ADM),
    "vdm": _of_one_level,
    "dit": _of_tokens,
}
