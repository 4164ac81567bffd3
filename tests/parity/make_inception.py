"""Writes tests/golden/inception.npz: torch-fidelity's features of two images of each size, with random weights.

``python -m tests.parity.make_inception``; weights and images are those of ``tests.inception_state``, so that only
the features are kept, float32 by ``size/tap``.
"""

import pathlib

import numpy as np

from tests.inception_state import SIZES, pictures, random_state
from tests.parity.references import torch_fidelity_features, torch_fidelity_network

if __name__ == "__main__":
    net = torch_fidelity_network(random_state())
    found = {
        f"{name}/{tap}": values
        for name in SIZES
        for tap, values in torch_fidelity_features(net, pictures(name)).items()
    }
    np.savez_compressed(pathlib.Path(__file__).parent.parent / "golden" / "inception.npz", **found)
    for name, values in found.items():
        print(
            f"{name:24} mean size {np.abs(values).mean():.3f}, largest {np.abs(values).max():.3f}, "
            f"between images {np.abs(values[0] - values[1]).mean():.4f}"
        )
