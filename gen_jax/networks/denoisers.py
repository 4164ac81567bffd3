"""The networks that diffusions denoise with, from plain data.

    network        what it is                                                    module
    unet           Ho's U-Net with attention in the middle; takes patches        :mod:`gen_jax.networks.unet`
    ddpm++         of score SDEs: VP and sub-VP; of EDM on small images          :mod:`gen_jax.networks.ddpmpp`
    ncsn++         of score SDEs: VE; of CLD                                     :mod:`gen_jax.networks.ddpmpp`
    ncsn++ smooth  with random frequencies of deviation 0.02: of consistency     :mod:`gen_jax.networks.ddpmpp`
    iddpm          of improved DDPM                                              :mod:`gen_jax.networks.adm`
    adm            of guided diffusion, heads of 64 channels                     :mod:`gen_jax.networks.adm`
    vdm            of variational diffusion, which keeps the resolution          :mod:`gen_jax.networks.vdm`
    dit            ``channels`` wide, ``blocks`` deep, heads of 64 channels      :mod:`gen_jax.networks.dit`
    mlp            ``channels`` wide, ``blocks`` deep, for what is no image      :mod:`gen_jax.networks.residual_mlp`

Which of them a model offers, and in what unit each is told the noise, is said by the model.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from gen_jax.checks import Count, Depth, Fraction, Within, plain
from gen_jax.networks.adm import ADM, by_convolution
from gen_jax.networks.ddpmpp import SongUNet
from gen_jax.networks.dit import DiT
from gen_jax.networks.ncsnpp import InputResidual
from gen_jax.networks.residual_mlp import ResidualMLP
from gen_jax.networks.unet import UNet
from gen_jax.networks.vdm import VDMUNet
from gen_jax.nn.embed import RandomSinusoids
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.nn.ladder import MULTIPLE
from gen_jax.nn.resample import FIR
from gen_jax.protocol import Network

Said = TypeVar("Said")


@plain
class Denoiser:
    """The network of a diffusion as plain data."""

    network: Literal["unet", "ddpm++", "ncsn++", "ncsn++ smooth", "iddpm", "adm", "vdm", "dit", "mlp"] = "unet"
    """Which network, of those in :mod:`gen_jax.networks.denoisers`; a model offers some of them."""
    channels: Annotated[int, Within(4)] = 32
    """Channels of the U-Net's first level."""
    multipliers: tuple[Count, ...] = (1, 2)
    """Channels of its levels in multiples of the first; the sides are halved between them if both can be."""
    blocks: Depth = 2
    """Residual blocks per level on the way down; one more on the way up."""
    attention: tuple[Count, ...] = ()
    """Smaller sides, in patches, of the levels with self-attention after every block; the middle always has it."""
    dropout: Fraction = 0.0
    """Share of activations dropped in every block while training."""
    patch: Count = 1
    """Side, in pixels, of the blocks that the network takes as channels; 2 needs a quarter of the work of 1."""

    def __post_init__(self) -> None:
        if self.channels % 2:
            raise ValueError(f"channels: expected an even number, as they hold sines, got {self.channels}")
        if not self.multipliers:
            raise ValueError("multipliers: expected at least one, got none")

    def build(self, shape: tuple[int, ...], classes: int, *, outputs: int | None = None) -> Network:
        """The network: examples ``[B, *shape]``, labels of noise ``[B]``, class ``[B]`` or None.

        Args:
          shape: of what the network sees: H, W, C of any size, and anything of "mlp".
          classes: 0 for none; label ``classes`` is no class.
          outputs: length of the last axis of what comes back, if other than that of ``shape``.

        Raises:
          ValueError: if a number has no meaning to the network, or it takes only images.
        """
        return NETWORKS[self.network](self, tuple(shape), classes=classes, outputs=outputs)

    def among(self, offered: Mapping[str, Said]) -> Said:
        """What ``offered``, a table by the names of networks, says of this one.

        Raises:
          ValueError: if it is not among them.
        """
        if self.network not in offered:
            raise ValueError(f"expected a network of {', '.join(map(repr, offered))}, got {self.network!r}")
        return offered[self.network]


def _of_levels(module: Callable[..., Any], net: Denoiser, shape: tuple[int, ...], **options: Any) -> Network:
    channels = _channels(net, shape)
    levels = {"base": net.channels, "multipliers": net.multipliers, "blocks": net.blocks}
    levels |= {"attention": net.attention, "dropout": net.dropout}
    make = partial(network, module, channels=channels, **levels, **options)
    return padded(make, (shape[0], shape[1]), math.lcm(MULTIPLE, net.patch))


def _of_pixels(module: Callable[..., Any], net: Denoiser, shape: tuple[int, ...], **options: Any) -> Network:
    _expect(net, patch=1)
    return _of_levels(module, net, shape, **options)


def _of_patches(net: Denoiser, shape: tuple[int, ...], **options: Any) -> Network:
    return _of_levels(UNet, net, shape, patch=net.patch, **options)


def _of_one_level(net: Denoiser, shape: tuple[int, ...], *, classes: int, outputs: int | None) -> Network:
    _expect(net, patch=1, multipliers=(1,), attention=())
    channels = _channels(net, shape)
    if outputs not in (None, channels):
        raise ValueError(f"expected as many outputs as the {channels} channels with network 'vdm', got {outputs}")
    options = {"channels": channels, "dropout": net.dropout, "classes": classes}
    return network(VDMUNet, base=net.channels, blocks=net.blocks, **options)


def _of_tokens(net: Denoiser, shape: tuple[int, ...], **options: Any) -> Network:
    _expect(net, multipliers=(1,), attention=(), dropout=0.0)
    options |= {"channels": _channels(net, shape), "width": net.channels, "heads": max(net.channels // 64, 1)}
    make = partial(network, DiT, patch=net.patch, layers=net.blocks, **options)
    return padded(make, (shape[0], shape[1]), net.patch)


def _of_numbers(net: Denoiser, shape: tuple[int, ...], **options: Any) -> Network:
    _expect(net, patch=1, multipliers=(1,), attention=())
    options |= {"width": net.channels, "blocks": net.blocks, "dropout": net.dropout}
    return network(ResidualMLP, shape=shape, **options)


def _channels(net: Denoiser, shape: tuple[int, ...]) -> int:
    if len(shape) != 3:
        raise ValueError(f"expected images [H, W, C] for network {net.network!r}, got {list(shape)}; 'mlp' takes these")
    return shape[2]


def _expect(net: Denoiser, **wanted: Any) -> None:
    for name, value in wanted.items():
        got = getattr(net, name)
        if got != value:
            raise ValueError(f"expected {name} {value} with network {net.network!r}, got {got}; change either")


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
    "mlp": _of_numbers,
}
