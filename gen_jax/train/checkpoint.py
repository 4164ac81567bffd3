"""Saving and restoring the whole state: atomically by Orbax, verified by a manifest.

A checkpoint is a directory ``<step>`` that holds the state as one flat dict of arrays, by path in the state
(``params.vae.encoder...``). Orbax commits it by a rename, so a killed run leaves no half of one; but it does not
notice a byte that changed on disk, so once the commit is done a manifest with the size and SHA-256 of every file is
written beside the arrays. A step is *good* when its manifest verifies: restoring takes the newest good step, puts bad
ones aside (``<step>.corrupt``) with a warning, and pruning never removes the last good ones. A step without a manifest
was not finished, and counts as not saved: it is kept aside until a later one is good.
"""

import hashlib
import re
import shutil
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from gen_jax.protocol import State
from gen_jax.train.manifest import MANIFEST, verify, write_manifest
from gen_jax.train.room import disk_error

_STEP = re.compile("0|[1-9][0-9]*")
_COMMITTED = "_CHECKPOINT_METADATA"  # is in all that Orbax has committed, and in nothing else
ASIDE = ".corrupt"  # what a step that is not usable is called by


class CheckpointError(RuntimeError):
    """No usable checkpoint, or one that belongs to another model."""


class Checkpoints:
    """The checkpoints of one run, in one directory; a context manager that waits for the last save.

    Args:
      directory: created by the first save.
      keep: how many of the newest good steps to keep.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2):
        self.directory = Path(directory).absolute()
        self.keep = keep
        self._pending: threading.Thread | None = None
        self._error: BaseException | None = None
        self._size = 0  # bytes of the last state

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def steps(self) -> list[int]:
        """Steps that were committed, whether good or not, oldest first; what has no such name is passed over."""
        if not self.directory.is_dir():
            return []
        return sorted(
            int(path.name) for path in self.directory.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()
        )

    def any(self) -> bool:
        """Whether anything was saved here, good or not, or put aside."""
        return bool(self.steps()) or any(self.directory.glob(f"*{ASIDE}"))

    def save(self, state: State, metadata: Mapping[str, Any]) -> None:
        """Starts to save ``state`` under its step, with ``metadata``; the caller may donate it at once.

        Raises:
          OSError: what went wrong with the beginning of this save, or with the one before it.
        """
        self.wait()
        step = int(state.step)
        path = self.directory / str(step)
        if path.exists():
            fault = self._fault(step)
            if fault is None:
                return
            self._put_aside(path, fault)
        # Orbax would make its folders in the background, and where it cannot, a thread that waits for them keeps the
        # process from ending.
        arrays = flatten(state)
        self._size = sum(array.nbytes for array in arrays.values())
        context = ocp.Context()
        context.async_options.create_directories_asynchronously = False
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with context:
                response = ocp.save_async(path, arrays, custom_metadata={**metadata, "step": step})
        except Exception as error:
            raise self._failed(error) from error
        self._pending = threading.Thread(target=self._finish, args=(response, path), daemon=False)
        self._pending.start()

    def wait(self) -> None:
        """Returns when the save under way is committed and verified, or raises what went wrong with it."""
        if self._pending is not None:
            self._pending.join()
            self._pending = None
        if self._error is not None:
            error, self._error = self._error, None
            raise self._failed(error) from error

    def restore(self, abstract: State) -> State | None:
        """The newest good state, with the shapes, types and shardings of ``abstract``; None if nothing was saved.

        Raises:
          CheckpointError: if checkpoints exist but none is good, or the newest is of another model.
        """
        step = self.newest_good()
        return None if step is None else self.restored(step, abstract)

    def restored(self, step: int, abstract: State) -> State:
        """The state of a good step, with the shapes, types and shardings of ``abstract``.

        Raises:
          CheckpointError: if it is of another model.
        """
        return unflatten(abstract, read(self.directory / str(step), flatten_abstract(abstract)))

    def metadata(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of a step."""
        return dict(ocp.metadata(self.directory / str(step)).custom_metadata or {})

    def examined(self) -> tuple[int | None, dict[int, str]]:
        """The newest good step, None if there is none, and what is wrong with the newer ones; nothing is written."""
        faults: dict[int, str] = {}
        for step in reversed(self.steps()):
            fault = self._fault(step)
            if fault is None:
                return step, faults
            faults[step] = fault
        return None, faults

    def newest_good(self) -> int | None:
        """The newest good step; bad newer ones are put aside. None if nothing was saved.

        A save that was not finished is nothing, and a run whose first one was cut off begins again. Where one was
        finished and is damaged, and none is good, a person has to say what should become of the run; until then
        everything stays as it is.

        Raises:
          CheckpointError: if there are damaged checkpoints and no good ones.
        """
        good, faults = self.examined()
        damaged = self._damaged(faults)
        if good is None and damaged:
            reasons = "; ".join(f"step {step}: {fault}" for step, fault in sorted(damaged.items()))
            raise CheckpointError(
                f"no good checkpoint in {self.directory} ({reasons}); bring one back from a copy, or delete the folder "
                "to begin again"
            )
        for step, fault in faults.items():
            self._put_aside(self.directory / str(step), fault)
        return good

    def _fault(self, step: int) -> str | None:
        fault = verify(self.directory / str(step))
        if fault is not None:
            return fault
        held = self.metadata(step).get("step", step)
        return None if held == step else f"it holds step {held}; it was renamed or copied"

    def _damaged(self, faults: Mapping[int, str]) -> dict[int, str]:
        """What is wrong with those that were finished, put aside or not."""
        found = {step: fault for step, fault in faults.items() if _finished(self.directory / str(step))}
        if self.directory.is_dir():
            for path in self.directory.glob(f"*{ASIDE}"):
                step = path.name.removesuffix(ASIDE)
                if _STEP.fullmatch(step) and _finished(path):
                    found.setdefault(int(step), f"it was put aside as {path.name}")
        return found

    def _put_aside(self, path: Path, fault: str) -> None:
        aside = path.with_name(f"{path.name}{ASIDE}")
        warnings.warn(f"checkpoint {path} is not usable: {fault}; put aside as {aside}", stacklevel=3)
        if jax.process_index() == 0:
            _remove(aside)
            path.rename(aside)

    def _failed(self, error: BaseException) -> OSError:
        return disk_error(error, self.directory, "saving to", self._size)

    def _finish(self, response: Any, path: Path) -> None:
        try:
            response.result()
            if jax.process_index() == 0:
                write_manifest(path)
                self._prune(int(path.name))
        except BaseException as error:  # handed to the training thread by `wait`
            self._error = error

    def _prune(self, newest: int) -> None:
        """Removes all but the newest steps up to the one that was saved; what is beyond it is not of this run.

        Saves that were not finished, and were put aside, go too: there is a better one now. Damaged ones stay.
        """
        paths = [self.directory / str(step) for step in self.steps() if step <= newest]
        for path in list(filter(_finished, paths))[: -self.keep]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.directory.glob(f"*{ASIDE}"):
            if (path / _COMMITTED).is_file() and not _finished(path):
                shutil.rmtree(path, ignore_errors=True)


def _finished(path: Path) -> bool:
    return (path / MANIFEST).exists()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flatten(state: Any) -> dict[str, jax.Array]:
    """The leaves by path; typed keys as their data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): _plain(leaf) for path, leaf in leaves}


def flatten_abstract(abstract: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """What :func:`flatten` would give for a state like ``abstract``, whose leaves carry shardings."""

    def plain(leaf: Any) -> jax.ShapeDtypeStruct:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
            return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

    leaves, _ = jax.tree_util.tree_flatten_with_path(abstract)
    return {_name(path): plain(leaf) for path, leaf in leaves}


def unflatten(abstract: Any, arrays: Mapping[str, jax.Array]) -> Any:
    """The inverse of :func:`flatten`."""

    def pick(path: tuple, leaf: Any) -> jax.Array:
        array = arrays[_name(path)]
        return jax.random.wrap_key_data(array) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else array

    return jax.tree_util.tree_map_with_path(pick, abstract)


def read(path: Path, abstract: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """The named arrays of one checkpoint; the rest is not read.

    Raises:
      CheckpointError: if a name is missing or has another shape.
    """
    saved = describe(path)
    for name, leaf in abstract.items():
        if name not in saved:
            raise CheckpointError(f"checkpoint {path} has no {name}: it is of another model or optimizer")
        if tuple(saved[name].shape) != leaf.shape:
            raise CheckpointError(f"checkpoint {path}: {name} has shape {saved[name].shape}, the model {leaf.shape}")
    context = ocp.Context()
    context.pytree_options.loading.partial_load = True
    with context:
        return ocp.load(path, dict(abstract))


def describe(path: Path) -> dict[str, Any]:
    """Shape and type of every array of one checkpoint."""
    return dict(ocp.metadata(path).metadata)


def state_sha256(arrays: Mapping[str, Any]) -> str:
    """One hash over names, types, shapes and bytes: the same for the same bits, on any number of devices."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
