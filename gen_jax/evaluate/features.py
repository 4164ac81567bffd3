"""Features of images, from a small classifier: the ruler's network, known by its name and the hash of its
weights.

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
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from gen_jax.data import prepare
from gen_jax.nn.classifier import Classifier
from gen_jax.nn.functional import network
from gen_jax.protocol import Network, Tree

WEIGHTS = pathlib.Path(__file__).parent / "weights"

# By data set: name, and the shape and classes of its images.
_SHIPPED = {"digits": ("digits", (8, 8, 1), 10), "fashion_mnist": ("fashion", (28, 28, 1), 10)}
_RANDOM_SEED = 0


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """A classifier whose last hidden layer measures images."""

    name: str
    """``digits``, ``fashion``, or ``random``."""
    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the weights."""
    channels: int
    """Of the images that it takes."""
    has_probabilities: bool
    """Whether it was trained on classes."""
    network: Network = dataclasses.field(repr=False, compare=False)
    params: Tree = dataclasses.field(repr=False, compare=False)
    buffers: Tree = dataclasses.field(repr=False, compare=False)

    @property
    def metric(self) -> str:
        """Name of the Frechet distance in these features; it is never the one in Inception's."""
        return f"FD-{self.name}"

    def extract(self, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray | None]:
        """Features float32 ``[N, F]`` and class probabilities float32 ``[N, K]``, or None, of uint8
        ``images``.

        The last batch is padded, so that all are computed by one program.

        Args:
          images: uint8 ``[N, H, W, C]``.
          batch_size: images per call; the features do not depend on it beyond rounding.
        """
        self._check(images)
        features, probabilities = [], []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            padding = [(0, batch_size - len(batch))] + [(0, 0)] * 3
            found = _extract(self.network, self.params, self.buffers, np.pad(batch, padding))
            features.append(np.asarray(found[0])[: len(batch)])
            probabilities.append(np.asarray(found[1])[: len(batch)])
        return np.concatenate(features), np.concatenate(probabilities) if self.has_probabilities else None

    def _check(self, images: np.ndarray) -> None:
        if images.dtype != np.uint8:
            raise ValueError(f"features are of uint8 images, got {images.dtype}; use gen_jax.data.to_uint8")
        if images.ndim != 4 or images.shape[3] != self.channels or not len(images):
            raise ValueError(
                f"the feature network {self.name!r} takes images [N, H, W, {self.channels}], got {images.shape}"
            )


@functools.partial(jax.jit, static_argnums=0)
def _extract(classifier: Network, params: Tree, buffers: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = prepare({"image": images})["image"]
    (features, logits), _ = classifier.apply(params, buffers, x, method=Classifier.features)
    return features, jax.nn.softmax(logits)


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
    path = WEIGHTS / f"{name}.safetensors"
    if tuple(shape) == usual_shape and classes in (0, usual_classes) and path.exists():
        return read_feature_network(path, name)
    classifier = network(Classifier, inputs=shape[2])
    params, buffers = _random_weights(classifier)
    digest = weights_hash(params, buffers)
    return FeatureNetwork("random", digest, shape[2], False, classifier, params, buffers)


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
    return FeatureNetwork(
        name, weights_hash(params, buffers), hyperparameters["inputs"], True, classifier, params, buffers
    )


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
