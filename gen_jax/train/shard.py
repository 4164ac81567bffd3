"""Where arrays live: the batch is split over one mesh axis, ``data``; the state is replicated or split by rule.

The step is an ordinary ``jax.jit`` over arrays that carry their shardings: the compiler inserts the all-reduce of the
gradients, and with a split state the all-gathers and reduce-scatters of fully sharded data parallelism.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gen_jax.protocol import Tree

DATA = "data"
FSDP_MINIMUM = 2**14  # elements; smaller leaves cost more to gather than to keep


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """One axis over all devices (or the given ones)."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), (DATA,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Split along ``axis``."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))


def state_shardings(abstract: Tree, mesh: Mesh, *, fsdp: bool) -> Tree:
    """A sharding for every leaf of an abstract state.

    With ``fsdp``, a leaf of at least ``FSDP_MINIMUM`` elements is split along its largest axis that the number of
    devices divides; all else is replicated.
    """
    count = mesh.devices.size

    def rule(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [axis for axis, side in enumerate(leaf.shape) if side % count == 0]
        if not fsdp or count == 1 or leaf.size < FSDP_MINIMUM or not axes:
            return replicated(mesh)
        return split(mesh, max(axes, key=lambda axis: leaf.shape[axis]))

    return jax.tree.map(rule, abstract)


def place(batch: Mapping[str, np.ndarray], mesh: Mesh, axis: int = 0) -> dict[str, jax.Array]:
    """This process's part of a batch (a slice along ``axis``) as global arrays split over the mesh."""
    sharding = split(mesh, axis)
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}
