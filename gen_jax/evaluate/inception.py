"""Features in Inception v3: what published Frechet, kernel and inception distances are measured in.

Heusel et al., 2017 (arXiv:1706.08500); the network is ``gen_jax.networks.inception``. Its weights are those of
``gen_jax.evaluate.inception_weights``. Where they are looked for, in this order:

(1) the path that is given;
(2) the path in the environment variable ``GEN_JAX_INCEPTION``;
(3) ``gen_jax/inception-2015-12-05.safetensors`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``;
(4) ``gen_jax/pt_inception-2015-12-05-6726825d.pth`` there, where it may be put by hand;
(5) the address of the published file.

The published file, wherever it comes from, is written once to (3). Other weights of the same shapes may be given too;
distances in them have another name and another hash.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import tempfile
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from gen_jax.data import DataError
from gen_jax.evaluate.download import download
from gen_jax.evaluate.features import FeatureNetwork, image_fields, weights_hash
from gen_jax.evaluate.inception_weights import (
    SHA256,
    SIZE,
    URL,
    inception_network,
    state_from_weights,
    weights_from_state,
)
from gen_jax.evaluate.tensors import read_tensors
from gen_jax.evaluate.torch_file import read_torch_file
from gen_jax.networks.inception import WIDTHS, prepare
from gen_jax.programs import Program
from gen_jax.protocol import Network, Tree
from gen_jax.reading import UnfitFileError, open_regular

VARIABLE = "GEN_JAX_INCEPTION"
_MOST_BYTES = 1 << 30  # of the file, which has a tenth of that


@dataclasses.dataclass(frozen=True)
class Inception:
    """Inception v3 with weights; its taps are named in ``gen_jax.networks.inception.WIDTHS``."""

    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the weights."""
    is_reference: bool
    """Whether the weights are those of the published file."""
    params: Tree = dataclasses.field(repr=False, compare=False)
    buffers: Tree = dataclasses.field(repr=False, compare=False)
    name: str = "inception"

    def features(
        self, images: np.ndarray | jax.Array, taps: tuple[str, ...] = ("2048", "logits_unbiased")
    ) -> dict[str, jax.Array]:
        """Features float32 ``[B, WIDTHS[tap]]`` of each tap; a pure function of weights and images.

        It may be called inside ``jit``, and images may be sharded over their first axis: features then are too.

        Args:
          images: uint8 ``[B, H, W, C]``, 0..255; grey (``C = 1``) is repeated over red, green and blue.
          taps: names out of ``WIDTHS``; what only others need is not computed.
        """
        if images.dtype != np.uint8:
            raise ValueError(f"features are of uint8 images, got {images.dtype}; use gen_jax.data.to_uint8")
        if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
            raise ValueError(f"Inception takes images [B, H, W, 1] or [B, H, W, 3], got {tuple(images.shape)}")
        # In two programs, of which the long one is the same for all shapes of images.
        return _features(inception_network(), self.params, self.buffers, _prepare(images), tuple(taps))

    def feature_network(self, tap: str = "2048") -> FeatureNetwork:
        """The ruler's network: features of one tap, and class probabilities of ``logits_unbiased``.

        Only the last features in the published weights are called ``inception``, and a distance in them an FID.
        """
        if tap not in WIDTHS:
            raise ValueError(f"taps of Inception are {', '.join(WIDTHS)}; got {tap}")
        name = self.name if self.is_reference else f"{self.name}-{self.hash[:4]}"
        return FeatureNetwork(
            name if tap == "2048" else f"{name}-{tap}",
            self.hash,
            image_fields(1, 3),
            True,
            functools.partial(_tapped, tap),
            {"params": self.params, "buffers": self.buffers},
            resize="TF1 bilinear to 299",
            batch_size=64,
            prepare=prepare,
        )


def _tapped(tap: str, weights: Tree, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    taps = (tap, "logits_unbiased")
    found, _ = inception_network().apply(weights["params"], weights["buffers"], x, taps)
    return found[tap], jax.nn.softmax(found["logits_unbiased"])


_prepare = Program(prepare)


@functools.partial(Program, static_argnums=(0, 4))
def _features(net: Network, params: Tree, buffers: Tree, x: jax.Array, taps: tuple[str, ...]) -> dict[str, jax.Array]:
    return net.apply(params, buffers, x, taps)[0]


def load_inception(path: str | pathlib.Path | None = None, *, url: str = URL) -> Inception:
    """Inception with the published weights, or with those of a file; see (1) to (5) above.

    Args:
      path: a state dictionary of PyTorch, or a file that was written to (3).
      url: where the published file is fetched from, if it is nowhere on this machine.

    Raises:
      DataError: one line, if the file is no state dictionary, or not Inception's.
      OSError: one line with what to fetch and where to put it, if there is no file and none could be fetched.
    """
    given = path or os.environ.get(VARIABLE)
    if given:
        return _read(pathlib.Path(given).expanduser())
    cached = _cache() / "inception-2015-12-05.safetensors"
    if cached.is_file():
        return _read(cached)
    by_hand = _cache() / URL.rpartition("/")[2]
    if by_hand.is_file():
        return _read(by_hand, SHA256)
    return _read(download(url, by_hand, sha256=SHA256, size=SIZE), SHA256)


def _cache() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "gen_jax"


def _read(path: pathlib.Path, sha256: str = "") -> Inception:
    try:
        with open_regular(path, most=_MOST_BYTES) as file:
            is_torch = file.read(2) in (b"PK", b"\x80\x02")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest() if is_torch or sha256 else ""
    except UnfitFileError as error:
        raise DataError(
            f"{path}: expected weights of Inception, {error.strerror}; fetch {URL} (SHA-256 {SHA256})"
        ) from None
    except OSError as error:
        raise OSError(
            f"{path}: expected weights of Inception ({error.strerror}); fetch {URL} ({SIZE:,} bytes, SHA-256 {SHA256}) "
            f"and put it there or at {_cache() / URL.rpartition('/')[2]}"
        ) from None
    if sha256 and digest != sha256:
        raise DataError(f"{path}: expected a file with SHA-256 {sha256}, got {digest}; delete it, or fetch {URL}")
    if not is_torch:
        return _read_safetensors(path)
    params, buffers = weights_from_state(read_torch_file(path), str(path))
    found = Inception(weights_hash(params, buffers), digest == SHA256, *_on_device(params, buffers))
    if found.is_reference:
        _keep(params, buffers, found.hash)
    return found


def _on_device(*trees: Tree) -> Tree:
    return jax.tree.map(jnp.asarray, trees)


def _read_safetensors(path: pathlib.Path) -> Inception:
    try:
        state, metadata = read_tensors(path, "weights of Inception, as PyTorch's or safetensors")
    except DataError as error:
        raise DataError(f"{error}; fetch {URL} (SHA-256 {SHA256})") from None
    params, buffers = weights_from_state(state, str(path))
    digest = weights_hash(params, buffers)
    if metadata.get("hash", digest) != digest:
        raise DataError(f"{path}: expected weights with hash {metadata['hash']}, got {digest}; delete it")
    return Inception(digest, metadata.get("source") == SHA256, *_on_device(params, buffers))


def _keep(params: Tree, buffers: Tree, digest: str) -> None:
    path = _cache() / "inception-2015-12-05.safetensors"
    content = safetensors.numpy.save(state_from_weights(params, buffers), {"hash": digest, "source": SHA256})
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = pathlib.Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        warnings.warn(f"{path}: Inception's weights cannot be kept ({error.strerror})", stacklevel=2)
