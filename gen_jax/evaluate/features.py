"""Features of images: the ruler's networks, each known by its name and the hash of its weights.

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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from gen_jax.data import prepare
from gen_jax.networks.classifier import Classifier
from gen_jax.nn.functional import network
from gen_jax.protocol import Network, Tree

WEIGHTS = pathlib.Path(__file__).parent / "weights"

# By data set: name, and the shape and classes of its images.
_SHIPPED = {"digits": ("digits", (8, 8, 1), 10), "fashion_mnist": ("fashion", (28, 28, 1), 10)}
_RANDOM_SEED = 0


Compute = Callable[[Tree, jax.Array], tuple[jax.Array, jax.Array | None]]


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """A network that measures images. Any will do: what it computes, its weights, and what it is called."""

    name: str
    """``digits``, ``fashion``, ``random``, ``inception``, or a name of your own."""
    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the weights."""
    channels: tuple[int, ...]
    """Of the images that it takes."""
    has_probabilities: bool
    """Whether it was trained on classes."""
    compute: Compute = dataclasses.field(repr=False, compare=False)
    """From weights and what ``prepare`` gives to features ``[B, F]`` and class probabilities ``[B, K]`` or None; a pure
    function, each example independent of its batch-mates.
    """
    weights: Tree = dataclasses.field(repr=False, compare=False)
    resize: str = "none"
    """How it brings images to the size that it sees."""
    batch_size: int = 500
    """Images at a time, where nothing else is asked for."""
    prepare: Callable[[jax.Array], jax.Array] = dataclasses.field(
        default=lambda images: images, repr=False, compare=False
    )
    """From uint8 ``[B, H, W, C]`` to what ``compute`` takes, in a program of its own: a network that resizes is
    compiled once, and not again for every size of images.
    """
    _copies: dict[Any, Tree] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def extract(self, images: np.ndarray, batch_size: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Features float32 ``[N, F]`` and class probabilities float32 ``[N, K]``, or None, of uint8 ``images``.

        Args:
          images: uint8 ``[N, H, W, C]``.
          batch_size: images per call; the features do not depend on it beyond rounding.
        """
        self.check(images)
        size = batch_size or self.batch_size
        found = [self.begin(images[start : start + size], size) for start in range(0, len(images), size)]
        features, probabilities = zip(*(got() for got in found), strict=True)
        return np.concatenate(features), np.concatenate(probabilities) if self.has_probabilities else None

    def begin(self, images: np.ndarray, size: int) -> Callable[[], tuple[np.ndarray, np.ndarray | None]]:
        """Starts on at most ``size`` images, padded to that so that one program serves all batches, and split over
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
        whole = jax.device_put(np.pad(images, [(0, padded - len(images))] + [(0, 0)] * 3), parted)
        features, probabilities = _compute(self.compute, self._copies[devices], _prepare(self.prepare, whole))

        def result() -> tuple[np.ndarray, np.ndarray | None]:
            kept = np.asarray(features)[: len(images)]
            return kept, None if probabilities is None else np.asarray(probabilities)[: len(images)]

        return result

    def check(self, images: np.ndarray) -> None:
        """A ValueError of one line if these are no images that the network takes."""
        if images.dtype != np.uint8:
            raise ValueError(f"features are of uint8 images, got {images.dtype}; use gen_jax.data.to_uint8")
        if images.ndim != 4 or images.shape[3] not in self.channels or not len(images):
            channels = " or ".join(map(str, self.channels))
            raise ValueError(
                f"the feature network {self.name!r} takes images [N, H, W, {channels}], got {images.shape}"
            )


_prepare = jax.jit(lambda prepare, images: prepare(images), static_argnums=0)
_compute = jax.jit(lambda compute, weights, images: compute(weights, images), static_argnums=0)


def _classify(classifier: Network, weights: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = prepare({"image": images})["image"]
    (features, logits), _ = classifier.apply(weights["params"], weights["buffers"], x, method=Classifier.features)
    return features, jax.nn.softmax(logits)


def _features_alone(classifier: Network, weights: Tree, images: jax.Array) -> tuple[jax.Array, None]:
    return _classify(classifier, weights, images)[0], None


def load_feature_network(data_name: str, shape: tuple[int, int, int], classes: int = 0) -> FeatureNetwork:
    """The network that measures images of a data set.

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
    return FeatureNetwork("random", digest, (channels,), False, compute, weights)


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
    """A trained feature network from a file of :func:`save_feature_network`."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            flat = {field: file.get_tensor(field) for field in file.keys()}  # noqa: SIM118 (it is no dictionary)
        hyperparameters = json.loads(metadata["hyperparameters"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: expected weights of a feature network, cannot read them ({error})") from None
    trees = _nested(flat)
    params, buffers = trees.get("params", {}), trees.get("buffers", {})
    classifier = network(Classifier, **hyperparameters)
    compute = functools.partial(_classify, classifier)
    weights = {"params": params, "buffers": buffers}
    return FeatureNetwork(name, weights_hash(params, buffers), (hyperparameters["inputs"],), True, compute, weights)


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
    safetensors.numpy.save_file(flat, path, metadata=metadata)


def weights_hash(params: Tree, buffers: Tree) -> str:
    """First 16 hexadecimal digits of the SHA-256 over names, types, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, values in sorted(_flat({"params": params, "buffers": buffers}).items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def _flat(tree: Tree, prefix: str = "") -> dict[str, np.ndarray]:
    if not isinstance(tree, Mapping):
        return {prefix: np.ascontiguousarray(tree)}
    found: dict[str, np.ndarray] = {}
    for name, branch in tree.items():
        found |= _flat(branch, f"{prefix}/{name}" if prefix else name)
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
