"""Names and layout of Inception's published weights.

They are those of the TensorFlow graph ``inception-2015-12-05``, as pytorch-fid and torch-fidelity publish them in
PyTorch's layout: the same file under the names ``pt_inception-2015-12-05-6726825d.pth`` and
``weights-inception-2015-12-05-6726825d.pth``. A kernel is ``[O, I, h, w]`` there and ``[h, w, I, O]`` here.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gen_jax.data import DataError
from gen_jax.networks.inception import InceptionV3
from gen_jax.nn.functional import network
from gen_jax.protocol import Network, Tree

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
"""Of the published file."""
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the published file; its name carries the first eight digits, and many public texts give all of them."""
SIZE = 95_628_359
"""Bytes of the published file."""

# Where a tensor is: tree (0 parameters, 1 buffers), modules on the way, name there, and the published axes in the
# order of ours.
_Place = tuple[int, tuple[str, ...], str, tuple[int, ...]]

_LAYER = {
    "conv.weight": (0, "kernel", (2, 3, 1, 0)),
    "bn.weight": (0, "scale", (0,)),
    "bn.bias": (0, "bias", (0,)),
    "bn.running_mean": (1, "mean", (0,)),
    "bn.running_var": (1, "var", (0,)),
}
_UNUSED = ".bn.num_batches_tracked"


@functools.cache
def inception_network() -> Network:
    """Inception v3 as pure functions, the same object at every call."""
    return network(InceptionV3)


def state_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a state dictionary of Inception holds, as PyTorch lays it out."""
    trees = _trees()
    return {
        name: tuple(_find(trees[tree], modules)[leaf].shape[axis] for axis in np.argsort(axes))
        for name, (tree, modules, leaf, axes) in _places().items()
    }


def weights_from_state(state: Mapping[str, np.ndarray], source: str = "state dictionary") -> tuple[Tree, Tree]:
    """Parameters and buffers, as numpy arrays, of a state dictionary with the published file's names.

    Args:
      state: float32 arrays by name, as PyTorch lays them out; counters of batches are passed over.
      source: what to call it in a message.

    Raises:
      DataError: one line, if a tensor is missing, unknown, of another shape or type, or not finite.
    """
    state = {name: values for name, values in state.items() if not name.endswith(_UNUSED)}
    expected = state_shapes()
    for name in [*expected, *state]:
        if wrong := _wrong(state.get(name), expected.get(name)):
            raise DataError(
                f"{source}: {name[:80]} {wrong}; fetch the weights of Inception from {URL} (SHA-256 {SHA256})"
            )
    trees: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name, (tree, modules, leaf, axes) in _places().items():
        node = trees[tree]
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = np.ascontiguousarray(state[name].transpose(axes))
    return trees


def state_from_weights(params: Tree, buffers: Tree) -> dict[str, np.ndarray]:
    """The inverse of :func:`weights_from_state`."""
    state = {}
    for name, (tree, modules, leaf, axes) in _places().items():
        values = np.asarray(_find((params, buffers)[tree], modules)[leaf])
        state[name] = np.ascontiguousarray(values.transpose(np.argsort(axes)))
    return state


def _wrong(values: np.ndarray | None, shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "is not of this network"
    if values is None:
        return f"is missing, float32 {shape} was expected"
    if values.dtype != np.float32 or values.shape != shape:
        return f"is {values.dtype} {values.shape}, float32 {shape} was expected"
    return "" if np.isfinite(values).all() else "is not finite"


@functools.cache
def _trees() -> tuple[Tree, Tree]:
    return jax.eval_shape(inception_network().init, jax.eval_shape(lambda: jax.random.key(0)))


@functools.cache
def _places() -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for module, content in _trees()[0].items():
        paths = [(module,)] if "kernel" in content else [(module, inner) for inner in content]
        for path in paths if module != "fc" else []:
            for name, (tree, leaf, axes) in _LAYER.items():
                places[f"{'.'.join(path)}.{name}"] = tree, path, leaf, axes
    return places | {"fc.weight": (0, ("fc",), "kernel", (1, 0)), "fc.bias": (0, ("fc",), "bias", (0,))}


def _find(tree: Any, modules: tuple[str, ...]) -> Any:
    return functools.reduce(lambda node, name: node[name], modules, tree)
