"""Features: the ruler's networks, each known by its name and the hash of its weights.

Those of images are here, those of all other kinds in :mod:`gen_jax.evaluate.kinds`.

The classifiers for digits and Fashion-MNIST were trained on those sets and come with the package. For any
other data the same network with random weights from a fixed seed stands in, and is called ``random`` wherever
it is named: random features tell sets of images apart, but not in the way that people do, and have no class
probabilities.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.checks import Count, plain
from gen_jax.data import DataError, prepare
from gen_jax.evaluate.tensors import read_tensors, write_tensors
from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field
from gen_jax.networks.classifier import Classifier
from gen_jax.nn.functional import network
from gen_jax.programs import Program
from gen_jax.protocol import Network, Tree
from gen_jax.reading import parse_json, said

WEIGHTS = pathlib.Path(__file__).parent / "weights"

# By data set: name, and the shape and classes of its images.
_SHIPPED = {"digits": ("digits", (8, 8, 1), 10), "fashion_mnist": ("fashion", (28, 28, 1), 10)}
_RANDOM_SEED = 0


Compute = Callable[[Tree, Any], tuple[jax.Array, jax.Array | None]]


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """What measures examples. Anything will do: what it computes, its weights, and what it is called."""

    name: str
    """``digits``, ``fashion``, ``random``, ``inception``, ``identity``, ..., or a name of your own."""
    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the weights."""
    takes: tuple[Field, ...]
    """Examples of one of these fields, all of one kind and rank; a side of 0 may be anything."""
    has_probabilities: bool
    """Whether it was trained on classes."""
    compute: Compute = dataclasses.field(repr=False, compare=False)
    """From weights and what ``prepare`` gives to features ``[B, F]`` and class probabilities ``[B, K]`` or None; a pure
    function, each example independent of its batch-mates.
    """
    weights: Tree = dataclasses.field(repr=False, compare=False)
    resize: str = "none"
    """How it brings examples to the size that it sees."""
    batch_size: int = 500
    """Examples at a time, where nothing else is asked for."""
    prepare: Callable[..., Any] = dataclasses.field(default=lambda images: images, repr=False, compare=False)
    """From examples ``[B, ...]`` as they are stored, and where they have lengths ``[B]`` from these too, to what
    ``compute`` takes. It is a program of its own: a network that resizes is compiled once, and not again for every size
    of images.
    """
    _copies: dict[Any, Tree] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def extract(
        self, examples: np.ndarray, batch_size: int | None = None, *, length: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Features float32 ``[N, F]`` and class probabilities float32 ``[N, K]``, or None.

        Args:
          examples: ``[N, ...]`` as their kind is stored, such as uint8 images ``[N, H, W, C]``.
          batch_size: examples per call; the features do not depend on it beyond rounding.
          length: integers ``[N]``, where only so much of each example is real.
        """
        self.check(examples, length)
        size = batch_size or self.batch_size
        parts = [slice(start, start + size) for start in range(0, len(examples), size)]
        found = [self.begin(examples[part], size, None if length is None else length[part]) for part in parts]
        features, probabilities = zip(*(got() for got in found), strict=True)
        return np.concatenate(features), np.concatenate(probabilities) if self.has_probabilities else None

    def begin(
        self, examples: np.ndarray, size: int, length: np.ndarray | None = None
    ) -> Callable[[], tuple[np.ndarray, np.ndarray | None]]:
        """Starts on at most ``size`` examples, padded to that so that one program serves all batches, and split over
        this process's devices; what comes back waits for the features.
        """
        devices = tuple(jax.local_devices())
        mesh = jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,), devices=devices)
        everywhere, parted = (
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axis)) for axis in ((), ("data",))
        )
        if devices not in self._copies:
            self._copies[devices] = jax.device_put(self.weights, everywhere)
        padded = -(-size // len(devices)) * len(devices)
        whole = [
            jax.device_put(np.pad(x, [(0, padded - len(x))] + [(0, 0)] * (x.ndim - 1)), parted)
            for x in (examples, length)
            if x is not None
        ]
        features, probabilities = _compute(self.compute, self._copies[devices], _prepare(self.prepare, *whole))

        def result() -> tuple[np.ndarray, np.ndarray | None]:
            kept = np.asarray(features)[: len(examples)]
            return kept, None if probabilities is None else np.asarray(probabilities)[: len(examples)]

        return result

    def check(self, examples: np.ndarray, length: np.ndarray | None = None) -> None:
        """A ValueError of one line if these are no examples that the network takes."""
        field = self.takes[0]
        what, stored = _noun(field), np.dtype(field.kind.stored)
        if examples.dtype != stored:
            use = "gen_jax.data.to_uint8" if field.kind is PIXELS else f"array.astype(np.{stored})"
            raise ValueError(f"features are of {stored} {what}, got {examples.dtype}; use {use}")
        fits = any(
            len(f.shape) == examples.ndim - 1 and all(a in (0, b) for a, b in zip(f.shape, examples.shape[1:]))
            for f in self.takes
        )
        if not fits or not len(examples):
            raise ValueError(
                f"the feature network {self.name!r} takes {what} {_written(self.takes)}, got {examples.shape}"
            )
        if field.kind in (SYMBOL, COUNT):
            _check_integers(self.name, field, examples, length)


_NOUNS = {REAL.name: "real numbers", SYMBOL.name: "symbols", COUNT.name: "word counts"}


def _noun(field: Field) -> str:
    return _NOUNS.get(field.kind.name) or ("videos" if len(field.shape) == 4 else "images")


def _written(takes: tuple[Field, ...]) -> str:
    """The shapes that are taken, such as ``[N, H, W, 1 or 3]``."""
    rank = len(takes[0].shape)
    letters = "THWC"[4 - rank :] if takes[0].kind is PIXELS else "TD"
    sides = [dict.fromkeys(str(field.shape[i] or letters[i]) for field in takes) for i in range(rank)]
    return f"[{', '.join(['N', *map(' or '.join, sides)])}]"


def _check_integers(name: str, field: Field, examples: np.ndarray, length: np.ndarray | None) -> None:
    """That all before the length are symbols or words of the size, and counts are not negative."""
    real = np.ones(examples.shape[:2], bool) if length is None else np.arange(examples.shape[1]) < length[:, None]
    found = examples[real]
    symbols = counts = found[:0]
    if field.kind is SYMBOL:
        symbols = found
    elif found.ndim == 1:
        counts = found
    else:  # words beside their counts
        symbols, counts = found[found[:, 1] > 0, 0], found[:, 1]
    if symbols.size and not 0 <= symbols.min() <= symbols.max() < field.size:
        came = f"{symbols.min()}..{symbols.max()}"
        raise ValueError(
            f"the feature network {name!r} takes symbols of 0..{field.size - 1}, got {came}; look at the alphabet, and"
            " give the lengths of what is padded"
        )
    if counts.size and counts.min() < 0:
        raise ValueError(f"the feature network {name!r} takes counts of 0 or more, got {counts.min()}; look at them")


_prepare = Program(lambda prepare, *parts: prepare(*parts), static_argnums=0)
_compute = Program(lambda compute, weights, prepared: compute(weights, prepared), static_argnums=0)


def image_fields(*channels: int) -> tuple[Field, ...]:
    """What a network takes that takes images of any side, with any of these channels."""
    return tuple(Field((0, 0, count), PIXELS) for count in channels)


def _classify(classifier: Network, weights: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = prepare({"image": images})["image"]
    (features, logits), _ = classifier.apply(weights["params"], weights["buffers"], x, method=Classifier.features)
    return features, jax.nn.softmax(logits)


def _features_alone(classifier: Network, weights: Tree, images: jax.Array) -> tuple[jax.Array, None]:
    return _classify(classifier, weights, images)[0], None


def load_feature_network(data_name: str, shape: tuple[int, int, int], classes: int = 0) -> FeatureNetwork:
    """The network that measures images of a data set; ``features_of`` chooses for any field.

    Args:
      data_name: name of the data set, as ``gen_jax.data.load`` takes it.
      shape: of its images, ``(H, W, C)``.
      classes: of the data set; 0 where labels are not used.

    Returns:
      The classifier that comes with the package for this data set at its own size, or one with random
      weights.
    """
    name, usual_shape, usual_classes = _SHIPPED.get(data_name, ("", (), 0))
    if tuple(shape) == usual_shape and classes in (0, usual_classes):
        return named_feature_network(name)
    return named_feature_network("random", channels=shape[2])


def named_feature_network(name: str, *, channels: int = 1) -> FeatureNetwork:
    """``digits`` or ``fashion``, which come with the package and take grey images, or ``random`` for ``channels``.

    Raises:
      ValueError: if there is no network of this name.
    """
    shipped = sorted(own for own, *_ in _SHIPPED.values())
    if name in shipped:
        return read_feature_network(WEIGHTS / f"{name}.safetensors", name)
    if name != "random":
        raise ValueError(f"unknown feature network {name!r}; there are inception, {', '.join(shipped)} and random")
    classifier = network(Classifier, inputs=channels)
    params, buffers = _random_weights(classifier)
    digest = weights_hash(params, buffers)
    compute = functools.partial(_features_alone, classifier)
    weights = {"params": params, "buffers": buffers}
    return FeatureNetwork("random", digest, image_fields(channels), False, compute, weights)


def _random_weights(classifier: Network) -> tuple[Tree, Tree]:
    # Drawn by numpy, so that the hash is the same with every version of JAX and on every device.
    generator = np.random.Generator(np.random.Philox(key=_RANDOM_SEED))

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = path[-1].key
        values = np.ones(leaf.shape) if name in ("scale", "var") else np.zeros(leaf.shape)
        if name == "kernel":
            values = generator.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(values, jnp.float32)

    shapes = jax.eval_shape(classifier.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(fill, shapes)


def read_feature_network(path: str | pathlib.Path, name: str) -> FeatureNetwork:
    """A trained feature network from a file of :func:`save_feature_network`.

    Raises:
      DataError: one line, if it is none.
    """
    expected = "weights of a feature network"
    arrays, metadata = read_tensors(path, expected)
    try:
        hyperparameters = parse_json(metadata.get("hyperparameters", "null"))
        names = {"inputs", "widths", "features", "classes"}
        if not isinstance(hyperparameters, dict) or not {"inputs"} <= hyperparameters.keys() <= names:
            came = f"{hyperparameters}"[:80]
            raise ValueError(f"hyperparameters should be inputs, widths, features and classes, got {came}")
        classifier = _classifier(_Hyperparameters(**hyperparameters), arrays)
    except ValueError as error:
        raise DataError(f"{path}: expected {expected}, cannot read them ({said(error)})") from None
    trees = _nested(arrays)
    params, buffers = trees["params"], trees["buffers"]
    compute = functools.partial(_classify, classifier)
    takes = image_fields(hyperparameters["inputs"])
    return FeatureNetwork(name, weights_hash(params, buffers), takes, True, compute, trees)


@plain
class _Hyperparameters:
    """What a file says of its classifier."""

    inputs: Literal[1, 3]
    widths: tuple[Count, ...] = (24, 48, 96)
    features: Count = 64
    classes: Count = 10


def _classifier(hyperparameters: _Hyperparameters, arrays: Mapping[str, np.ndarray]) -> Network:
    """The classifier whose weights the arrays are; of others a ValueError."""
    if not 0 < len(hyperparameters.widths) <= len(arrays):  # as many layers at least, before they are made
        raise ValueError(f"it has {len(arrays)} arrays for {len(hyperparameters.widths)} widths")
    found = network(Classifier, **vars(hyperparameters))
    params, buffers = jax.eval_shape(found.init, jax.eval_shape(lambda: jax.random.key(0)))
    shapes = {name: leaf.shape for name, leaf in _leaves({"params": params, "buffers": buffers}).items()}
    for name in sorted(shapes.keys() | arrays.keys()):
        here = f"float32 {arrays[name].shape}" if name in arrays else "nothing"
        there = f"float32 {shapes[name]}" if name in shapes else "nothing"
        if here != there or arrays[name].dtype != np.float32:
            came = here if here != there else str(arrays[name].dtype)
            raise ValueError(f"{name[:80]} should be {there}, got {came}")
    return found


def save_feature_network(
    path: str | pathlib.Path,
    params: Tree,
    buffers: Tree,
    hyperparameters: Mapping[str, Any],
    *,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a trained classifier as safetensors.

    Args:
      path: file to write.
      params: of the ``Classifier``, as float32.
      buffers: of the ``Classifier``.
      hyperparameters: what its constructor takes beside ``rngs``; kept in the file as JSON.
      facts: what else the file should say of itself, such as the accuracy on test data.
    """
    flat = _flat({"params": params, "buffers": buffers})
    metadata = {"hyperparameters": json.dumps(dict(hyperparameters)), "facts": json.dumps(dict(facts or {}))}
    write_tensors(path, flat, metadata)


def weights_hash(params: Tree, buffers: Tree) -> str:
    """First 16 hexadecimal digits of the SHA-256 over names, types, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, values in sorted(_flat({"params": params, "buffers": buffers}).items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def _flat(tree: Tree) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(leaf) for name, leaf in _leaves(tree).items()}


def _leaves(tree: Tree, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for name, branch in tree.items():
        found |= _leaves(branch, f"{prefix}/{name}" if prefix else name)
    return found


def _nested(flat: Mapping[str, np.ndarray]) -> Tree:
    tree: dict[str, Any] = {}
    for path, values in flat.items():
        *branches, leaf = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = jnp.asarray(values)
    return tree
