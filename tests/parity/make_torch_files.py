"""Writes tests/golden/torch_*.pth, small state dictionaries as PyTorch itself saves them.

``python -m tests.parity.make_torch_files``; the tensors count upwards, so that ``tests/test_torch_file.py`` knows
them without PyTorch.
"""

import collections
import pathlib

import torch

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def everything():
    """Every type and every kind of view that the reader knows."""
    shared = torch.arange(24, dtype=torch.float32)
    return collections.OrderedDict(
        matrix=torch.arange(6, dtype=torch.float32).reshape(2, 3),
        transposed=torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
        slice=shared[4:16:3],
        whole=shared.reshape(2, 3, 4),
        number=torch.tensor(5),
        empty=torch.zeros(0, 3),
        double=torch.arange(3, dtype=torch.float64),
        half=torch.arange(3, dtype=torch.float16),
        int=torch.arange(3, dtype=torch.int32),
        short=torch.arange(3, dtype=torch.int16),
        char=torch.arange(3, dtype=torch.int8),
        byte=torch.arange(3, dtype=torch.uint8),
        bool=torch.arange(3) == 1,
        parameter=torch.nn.Parameter(torch.arange(3, dtype=torch.float32)),
    )


def layers():
    """The state of a module, which carries the versions of its layers along."""
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1, bias=False), torch.nn.BatchNorm2d(3, eps=0.001))
    for tensor in module.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))
    return module.state_dict()


if __name__ == "__main__":
    for name, content in {"everything": everything(), "layers": layers()}.items():
        for kind, is_zip in {"zip": True, "legacy": False}.items():
            torch.save(content, GOLDEN / f"torch_{name}_{kind}.pth", _use_new_zipfile_serialization=is_zip)
