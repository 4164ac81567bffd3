"""Inception v3 as the Frechet inception distance knows it: the TensorFlow graph ``inception-2015-12-05``.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, 2015, "Rethinking the Inception Architecture for Computer Vision"
(arXiv:1512.00567); Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, 2017, "GANs Trained by a Two Time-Scale Update
Rule Converge to a Local Nash Equilibrium" (arXiv:1706.08500) measures in it. Layers have the names of the public
weights.

(1) pixels ``p`` of 0..255 enter as ``(p - 128) / 128``
(2) every side is brought to 299 by bilinear interpolation at ``source = target * side / 299``: no half pixel, no
    antialiasing, the last pixel repeated
(3) a layer is a convolution without bias, ``gamma (y - mean) / sqrt(var + 1e-3) + beta``, and a ReLU; in use the
    normalisation is an affine map, and there is no training here
(4) average pools of the blocks divide by the number of pixels inside the image; the last block's pool takes maxima
(5) taps: means over the image of 64, 192, 768 and 2048 channels (after the two pools of the stem, ``Mixed_6e`` and
    ``Mixed_7c``), ``logits_unbiased = pooled W`` and ``logits = pooled W + b`` over 1008 classes

Everything is float32, at the highest precision of matrix units. The trunk has 21,785,568 parameters (kernels, gammas,
betas; means and variances are buffers), with the last layer 23,850,960.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

SIDE = 299
"""Of the images that the network sees, in pixels."""
WIDTHS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008, "logits": 1008}
"""Width of each tap, see (5)."""

_EPSILON = 1e-3
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _Layer(NamedTuple):
    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


# A block is a tuple of branches, whose outputs are joined; a branch is a row of steps. A step is a layer, the name of
# a pool, or a tuple of layers that all see the same input and are joined.
_Step = _Layer | str | tuple[_Layer, ...]
_Block = tuple[tuple[_Step, ...], ...]


def _half(name: str, width: int) -> _Layer:
    return _Layer(name, width, (3, 3), 2, "VALID")


def _block_a(pooled: int) -> _Block:
    return (
        (_Layer("branch1x1", 64),),
        (_Layer("branch5x5_1", 48), _Layer("branch5x5_2", 64, (5, 5))),
        (
            _Layer("branch3x3dbl_1", 64),
            _Layer("branch3x3dbl_2", 96, (3, 3)),
            _Layer("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("average", _Layer("branch_pool", pooled)),
    )


def _block_b() -> _Block:
    return (
        (_half("branch3x3", 384),),
        (_Layer("branch3x3dbl_1", 64), _Layer("branch3x3dbl_2", 96, (3, 3)), _half("branch3x3dbl_3", 96)),
        ("halve",),
    )


def _block_c(width: int) -> _Block:
    return (
        (_Layer("branch1x1", 192),),
        (
            _Layer("branch7x7_1", width),
            _Layer("branch7x7_2", width, (1, 7)),
            _Layer("branch7x7_3", 192, (7, 1)),
        ),
        (
            _Layer("branch7x7dbl_1", width),
            _Layer("branch7x7dbl_2", width, (7, 1)),
            _Layer("branch7x7dbl_3", width, (1, 7)),
            _Layer("branch7x7dbl_4", width, (7, 1)),
            _Layer("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("average", _Layer("branch_pool", 192)),
    )


def _block_d() -> _Block:
    return (
        (_Layer("branch3x3_1", 192), _half("branch3x3_2", 320)),
        (
            _Layer("branch7x7x3_1", 192),
            _Layer("branch7x7x3_2", 192, (1, 7)),
            _Layer("branch7x7x3_3", 192, (7, 1)),
            _half("branch7x7x3_4", 192),
        ),
        ("halve",),
    )


def _block_e(pool: str) -> _Block:
    return (
        (_Layer("branch1x1", 320),),
        (
            _Layer("branch3x3_1", 384),
            (_Layer("branch3x3_2a", 384, (1, 3)), _Layer("branch3x3_2b", 384, (3, 1))),
        ),
        (
            _Layer("branch3x3dbl_1", 448),
            _Layer("branch3x3dbl_2", 384, (3, 3)),
            (_Layer("branch3x3dbl_3a", 384, (1, 3)), _Layer("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pool, _Layer("branch_pool", 192)),
    )


# The network, in order: a layer, a pool, a named block, or a tap of what has been computed so far.
_GRAPH: tuple[tuple[str, _Layer | _Block | None], ...] = (
    ("Conv2d_1a_3x3", _half("", 32)),
    ("Conv2d_2a_3x3", _Layer("", 32, (3, 3), padding="VALID")),
    ("Conv2d_2b_3x3", _Layer("", 64, (3, 3))),
    ("halve", None),
    ("64", None),
    ("Conv2d_3b_1x1", _Layer("", 80)),
    ("Conv2d_4a_3x3", _Layer("", 192, (3, 3), padding="VALID")),
    ("halve", None),
    ("192", None),
    ("Mixed_5b", _block_a(32)),
    ("Mixed_5c", _block_a(64)),
    ("Mixed_5d", _block_a(64)),
    ("Mixed_6a", _block_b()),
    ("Mixed_6b", _block_c(128)),
    ("Mixed_6c", _block_c(160)),
    ("Mixed_6d", _block_c(160)),
    ("Mixed_6e", _block_c(192)),
    ("768", None),
    ("Mixed_7a", _block_d()),
    ("Mixed_7b", _block_e("average")),
    ("Mixed_7c", _block_e("maximum")),
    ("2048", None),
)


class InceptionV3(nnx.Module):
    """The taps of (5) of images, as a dictionary of ``[B, width]``."""

    def __init__(self, *, rngs: nnx.Rngs):
        width = 3
        for name, part in _GRAPH:
            if isinstance(part, _Layer):
                setattr(self, name, Convolution(width, part, rngs=rngs))
                width = part.width
            elif part is not None:
                block = Mixed(width, part, rngs=rngs)
                setattr(self, name, block)
                width = block.width
        self.fc = nnx.Linear(width, WIDTHS["logits"], precision=jax.lax.Precision.HIGHEST, rngs=rngs)

    def __call__(
        self, x: jax.Array, taps: tuple[str, ...], *, key: jax.Array | None = None, train: bool = False
    ) -> dict[str, jax.Array]:
        """Taps of prepared images ``[B, 299, 299, 3]``, see :func:`prepare`.

        Raises:
          ValueError: if asked to train, or for a tap that is not in ``WIDTHS``.
        """
        if train:
            raise ValueError("Inception measures and is not trained, got train=True; use train=False")
        if unknown := set(taps) - set(WIDTHS):
            raise ValueError(f"taps of Inception are {', '.join(WIDTHS)}; got {', '.join(sorted(map(str, unknown)))}")
        found = {}
        for name, part in _GRAPH:
            if part is not None:
                x = getattr(self, name)(x)
            elif name in WIDTHS:
                found[name] = x.mean((1, 2))
            else:
                x = _pool(name, x)
        found["logits"] = self.fc(found["2048"])
        found["logits_unbiased"] = jnp.dot(found["2048"], self.fc.kernel[...], precision=jax.lax.Precision.HIGHEST)
        return {tap: found[tap] for tap in taps}


class Convolution(nnx.Module):
    """A layer of (3): ``[B, H, W, inputs] -> [B, H', W', layer.width]``."""

    def __init__(self, inputs: int, layer: _Layer, *, rngs: nnx.Rngs):
        self.stride, self.padding = layer.stride, layer.padding
        shape = (*layer.kernel, inputs, layer.width)
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), shape, jnp.float32))
        self.scale = nnx.Param(jnp.ones(layer.width))
        self.bias = nnx.Param(jnp.zeros(layer.width))
        self.mean = nnx.BatchStat(jnp.zeros(layer.width))
        self.var = nnx.BatchStat(jnp.ones(layer.width))

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, inputs] -> [B, H', W', layer.width]``."""
        y = jax.lax.conv_general_dilated(
            x,
            self.kernel[...],
            (self.stride, self.stride),
            self.padding,
            dimension_numbers=_LAYOUT,
            precision=jax.lax.Precision.HIGHEST,
        )
        slope = self.scale[...] / jnp.sqrt(self.var[...] + _EPSILON)
        return jax.nn.relu(y * slope + (self.bias[...] - self.mean[...] * slope))


class Mixed(nnx.Module):
    """Branches side by side, joined over channels: ``[B, H, W, inputs] -> [B, H', W', width]``."""

    def __init__(self, inputs: int, block: _Block, *, rngs: nnx.Rngs):
        self.block = block
        self.width = 0
        for branch in block:
            width = inputs
            for step in branch:
                if not isinstance(step, str):
                    layers = _parallel(step)
                    for layer in layers:
                        setattr(self, layer.name, Convolution(width, layer, rngs=rngs))
                    width = sum(layer.width for layer in layers)
            self.width += width

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, inputs] -> [B, H', W', width]``."""
        return jnp.concatenate(list(self._branches(x)), -1)

    def _branches(self, x: jax.Array) -> Iterator[jax.Array]:
        for branch in self.block:
            y = x
            for step in branch:
                if isinstance(step, str):
                    y = _pool(step, y)
                else:
                    y = jnp.concatenate([getattr(self, layer.name)(y) for layer in _parallel(step)], -1)
            yield y


def _parallel(step: _Layer | tuple[_Layer, ...]) -> tuple[_Layer, ...]:
    return (step,) if isinstance(step, _Layer) else step


def _pool(name: str, x: jax.Array) -> jax.Array:
    # All windows are 3 x 3: "halve" with stride 2 and no padding, the others with stride 1 and a border that counts
    # neither for the maximum nor for the mean.
    if name == "halve":
        return _windows(x, -jnp.inf, jax.lax.max, 2, "VALID")
    if name == "maximum":
        return _windows(x, -jnp.inf, jax.lax.max, 1, "SAME")
    inside = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return _windows(x, 0.0, jax.lax.add, 1, "SAME") / _windows(inside, 0.0, jax.lax.add, 1, "SAME")


def _windows(x: jax.Array, start: float, operation: Callable[..., jax.Array], stride: int, padding: str) -> jax.Array:
    return jax.lax.reduce_window(x, start, operation, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def prepare(images: jax.Array) -> jax.Array:
    """Images as the network sees them, by (1) and (2): ``[B, H, W, C]`` of 0..255 to float32 ``[B, 299, 299, 3]``.

    Grey images (``C = 1``) are repeated over the three channels.
    """
    x = images.astype(jnp.float32)
    x = _interpolate(_interpolate(x, 2), 1)
    return (jnp.broadcast_to(x, (*x.shape[:3], 3)) - 128) / 128


def _interpolate(x: jax.Array, axis: int) -> jax.Array:
    side = x.shape[axis]
    source = jnp.arange(SIDE, dtype=jnp.float32) * jnp.float32(side / SIDE)
    low = jnp.floor(source).astype(jnp.int32)
    share = (source - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    first, second = (jnp.take(x, jnp.minimum(low + i, side - 1), axis, mode="clip") for i in (0, 1))
    return first + (second - first) * share
