"""The networks of :mod:`gen_jax.networks.unet` and :mod:`gen_jax.networks.dcgan` in PyTorch, to be timed against.

Attributes are named as in our modules, so that a path in our nested dict of parameters is the path of a module here:
:func:`copy_parameters` makes both compute the same function. Images are NCHW.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gen_jax.networks.dcgan import plan
from gen_jax.nn.ladder import is_halved, sizes
from gen_jax.nn.layers import group_count

_LEAK = 0.2


class UNet(nn.Module):
    """``x [B, channels, side, side], t [B] -> [B, channels, side, side]``, without classes.

    Args:
      side: of the images.
      channels: of the images.
      base: width of the first level.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: sides of the levels with attention.
      dropout: share of activations dropped while training.
      patch: side of the blocks of pixels that are taken as channels.
    """

    def __init__(
        self,
        side: int,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        dropout: float = 0.0,
        patch: int = 1,
    ):
        super().__init__()
        grids = sizes((side // patch, side // patch), len(multipliers))

        def block(inputs: int, level: int) -> AttendedBlock:
            return AttendedBlock(inputs, base * multipliers[level], 4 * base, min(grids[level]) in attention, dropout)

        self.patch = patch
        self.embedding = TimeEmbedding(base, 4 * base)
        self.stem = nn.Conv2d(channels * patch**2, base, 3, padding=1)
        width, skips = base, [base]
        self.descent = nn.ModuleDict({name: nn.ModuleList() for name in ("stages", "shrink", "middle")})
        self.ascent = nn.ModuleDict({name: nn.ModuleList() for name in ("stages", "grow")})
        for level, multiplier in enumerate(multipliers):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(block(width, level))
                width = base * multiplier
                skips.append(width)
            self.descent["stages"].append(stage)
            if level < len(multipliers) - 1:
                self.descent["shrink"].append(Shrink(width, halves=is_halved(grids[level])))
                skips.append(width)
        for attended in (True, False):
            self.descent["middle"].append(AttendedBlock(width, width, 4 * base, attended, dropout))
        for level in reversed(range(len(multipliers))):
            stage = nn.ModuleList()
            for _ in range(blocks + 1):
                stage.append(block(width + skips.pop(), level))
                width = base * multipliers[level]
            self.ascent["stages"].append(stage)
            if level:
                self.ascent["grow"].append(Grow(width, times=2 if is_halved(grids[level - 1]) else 1))
        self.norm = group_norm(width)
        self.output = nn.Conv2d(width, channels * patch**2, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """See the class."""
        embedding = F.silu(self.embedding(t))
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for level, stage in enumerate(self.descent["stages"]):
            for block in stage:
                h = block(h, embedding)
                skips.append(h)
            if level < len(self.descent["shrink"]):
                h = self.descent["shrink"][level](h)
                skips.append(h)
        for block in self.descent["middle"]:
            h = block(h, embedding)
        for level, stage in enumerate(self.ascent["stages"]):
            for block in stage:
                h = block(torch.cat([h, skips.pop()], dim=1), embedding)
            if level < len(self.ascent["grow"]):
                h = self.ascent["grow"][level](h)
        return F.pixel_shuffle(self.output(F.silu(self.norm(h))), self.patch)


class TimeEmbedding(nn.Module):
    """Two dense layers over sinusoids of the time."""

    def __init__(self, sinusoids: int, width: int):
        super().__init__()
        half = sinusoids // 2
        self.register_buffer("frequency", torch.exp(-math.log(1e4) * torch.arange(half) / (half - 1)))
        self.first, self.second = nn.Linear(sinusoids, width), nn.Linear(width, width)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """``[B] -> [B, width]``."""
        angle = t.float()[:, None] * self.frequency
        return self.second(F.silu(self.first(torch.cat([angle.sin(), angle.cos()], dim=1))))


class Shrink(nn.Module):
    """A 3x3 convolution, where it halves of stride two: it then reads one pixel beyond the right and bottom."""

    def __init__(self, width: int, *, halves: bool):
        super().__init__()
        self.halves = halves
        self.conv = nn.Conv2d(width, width, 3, stride=2 if halves else 1, padding=0 if halves else 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W] -> [B, C, H / 2, W / 2]``, or of the same size."""
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.halves else x)


class Grow(nn.Module):
    """Every pixel ``times`` by ``times`` times, and a 3x3 convolution."""

    def __init__(self, width: int, *, times: int):
        super().__init__()
        self.times = times
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W] -> [B, C, times H, times W]``."""
        return self.conv(F.interpolate(x, scale_factor=self.times) if self.times > 1 else x)


class Block(nn.Module):
    """Two convolutions, each behind a normalisation, the embedding between them, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, embedding_width: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.norm_in = group_norm(inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.shift = nn.Linear(embedding_width, outputs)
        self.norm_out = group_norm(outputs)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """``x [B, C, H, W]``, the activated embedding ``[B, width]``."""
        h = self.conv_in(F.silu(self.norm_in(x))) + self.shift(embedding)[:, :, None, None]
        h = F.silu(self.norm_out(h))
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        return self.shortcut(x) + self.conv_out(h)


class Attention(nn.Module):
    """One head over all pixels, added to its input."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = group_norm(width)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]``."""
        h = self.norm(x).flatten(2).transpose(1, 2)
        h = self.output(F.scaled_dot_product_attention(self.query(h), self.key(h), self.value(h)))
        return x + h.transpose(1, 2).reshape(x.shape)


class AttendedBlock(nn.Module):
    """A block, followed by attention where asked."""

    def __init__(self, inputs: int, outputs: int, embedding_width: int, attended: bool, dropout: float):
        super().__init__()
        self.block = Block(inputs, outputs, embedding_width, dropout)
        self.attention = Attention(outputs) if attended else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """See :class:`Block`."""
        return self.attention(self.block(x, embedding))


class Generator(nn.Module):
    """The DCGAN generator: ``z [B, latent] -> [B, channels, side, side]``."""

    def __init__(self, side: int, channels: int, *, latent: int, base: int):
        super().__init__()
        (self.start, _), doublings = plan((side, side))
        widths = [base * 2**i for i in reversed(range(doublings))]
        self.project = nn.Linear(latent, self.start**2 * widths[0], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False)
            for a, b in itertools.pairwise([*widths, channels])
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Images in (-1, 1)."""
        h = self.project(z).view(len(z), self.start, self.start, -1).permute(0, 3, 1, 2)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(F.relu(norm(h)))
        return torch.tanh(h)


class Critic(nn.Module):
    """The DCGAN critic: ``x [B, channels, side, side]`` to logits ``[B]``."""

    def __init__(self, side: int, channels: int, *, base: int):
        super().__init__()
        (end, _), halvings = plan((side, side))
        widths = [channels, *(base * 2**i for i in range(halvings))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[2:])
        self.head = nn.Linear(end**2 * widths[-1], 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        h = F.leaky_relu(self.convolutions[0](x), _LEAK)
        for norm, convolution in zip(self.norms, self.convolutions[1:], strict=True):
            h = F.leaky_relu(norm(convolution(h)), _LEAK)
        return self.head(h.permute(0, 2, 3, 1).flatten(1))[:, 0]


def group_norm(width: int) -> nn.GroupNorm:
    """As in :mod:`gen_jax.nn.layers`."""
    return nn.GroupNorm(group_count(width), width, eps=1e-6)


@torch.no_grad()
def copy_parameters(module: nn.Module, params: dict[str, Any]) -> None:
    """Gives ``module`` the parameters of our network of the same kind.

    Args:
      module: :class:`UNet`, :class:`Generator` or :class:`Critic`, in any memory format.
      params: what ``network(...).init`` made, or a training step after it.

    Raises:
      ValueError: if either has a parameter that the other lacks.
    """
    patch = getattr(module, "patch", 1)
    given = {path: _as_torch(path, leaf, patch, module) for path, leaf in _leaves(params)}
    own = dict(module.named_parameters())
    if given.keys() != own.keys():
        raise ValueError(f"expected the same parameters on both sides, these have no partner: {given.keys() ^ own}")
    for path, parameter in own.items():
        parameter.copy_(torch.from_numpy(np.array(given[path])))


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, np.ndarray]]:
    names = {"kernel": "weight", "scale": "weight"}
    found = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value, prefix if name == "norm" and "norms" in prefix else f"{prefix}{name}.")
        else:
            found.append((prefix + names.get(name, name), np.asarray(value)))
    return found


def _as_torch(path: str, x: np.ndarray, patch: int, module: nn.Module) -> np.ndarray:
    if path == "stem.weight":  # blocks of pixels: row, column, channel here; channel, row, column there
        x = x.reshape(3, 3, patch, patch, -1, x.shape[-1]).transpose(0, 1, 4, 2, 3, 5).reshape(x.shape)
    if path == "output.weight":
        x = x.reshape(3, 3, x.shape[2], patch, patch, -1).transpose(0, 1, 2, 5, 3, 4).reshape(x.shape)
    if path == "output.bias":
        x = x.reshape(patch, patch, -1).transpose(2, 0, 1).reshape(-1)
    owner = module.get_submodule(path.rpartition(".")[0])
    if isinstance(owner, nn.ConvTranspose2d):
        return x[::-1, ::-1].transpose(2, 3, 0, 1)  # the adjoint of a correlation has its kernel turned
    if isinstance(owner, nn.Conv2d) and x.ndim == 4:
        return x.transpose(3, 2, 0, 1)
    return x.T if isinstance(owner, nn.Linear) else x
