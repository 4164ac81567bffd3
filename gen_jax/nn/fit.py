"""Images of any size, for networks that take only sides divisible by some number.

whole      the next height and width that the number divides                                               (1)
in         an image is enlarged to it by repeating its border, as much before as behind, an odd pixel behind
out        an image is cropped where it was enlarged                                                       (2)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.protocol import Network, Tree

Size = tuple[int, int]  # height, width


def whole(size: Size, multiple: int) -> Size:
    """(1)."""
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


def padded(make: Callable[..., Network], size: Size, multiple: int) -> Network:
    """A network over images of ``size``, from one over images of the next size that ``multiple`` divides.

    Images ``[B, height, width, C]`` among the inputs are enlarged and images of the larger size among the outputs are
    cropped, by (2); everything else passes as it is. Where ``multiple`` divides both sides, nothing is added to
    ``make(size=size)``.

    Args:
      make: called as ``make(size=...)`` with sides that ``multiple`` divides.
      size: height and width of the images, in pixels.
      multiple: pixels.
    """
    large = whole(size, multiple)
    net = make(size=large)
    if large == tuple(size):
        return net
    margins = [((b - a) // 2, b - a - (b - a) // 2) for a, b in zip(size, large, strict=True)]

    def enlarge(x: Any) -> Any:
        return jnp.pad(x, [(0, 0), *margins, (0, 0)], mode="edge") if _is_image(x, size) else x

    def crop(y: Any) -> Any:
        (top, _), (left, _) = margins
        return y[:, top : top + size[0], left : left + size[1]] if _is_image(y, large) else y

    def apply(params: Tree, buffers: Tree, *inputs: Any, **options: Any) -> tuple[Any, Tree]:
        output, carried = net.apply(params, buffers, *jax.tree.map(enlarge, inputs), **options)
        return jax.tree.map(crop, output), carried

    return Network(net.init, apply)


def _is_image(x: Any, size: Size) -> bool:
    return getattr(x, "ndim", 0) == 4 and x.shape[1:3] == tuple(size)
