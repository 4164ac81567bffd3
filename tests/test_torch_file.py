"""PyTorch's files are read as PyTorch wrote them, and nothing else is done with them."""

import collections
import io
import os
import pathlib
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest

from gen_jax.evaluate.torch_file import read_torch_file
from gen_jax.evaluate.torch_program import TorchFileError

GOLDEN = pathlib.Path(__file__).parent / "golden"
SHARED = np.arange(24, dtype=np.float32)
EXPECTED = {
    "everything": {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "slice": SHARED[4:16:3],
        "whole": SHARED.reshape(2, 3, 4),
        "number": np.array(5),
        "empty": np.zeros((0, 3), np.float32),
        "double": np.arange(3, dtype=np.float64),
        "half": np.arange(3, dtype=np.float16),
        "int": np.arange(3, dtype=np.int32),
        "short": np.arange(3, dtype=np.int16),
        "char": np.arange(3, dtype=np.int8),
        "byte": np.arange(3, dtype=np.uint8),
        "bool": np.arange(3) == 1,
        "parameter": np.arange(3, dtype=np.float32),
    },
    "layers": {
        "0.weight": np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1),
        "1.weight": np.arange(3, dtype=np.float32),
        "1.bias": np.arange(3, dtype=np.float32),
        "1.running_mean": np.arange(3, dtype=np.float32),
        "1.running_var": np.arange(3, dtype=np.float32),
        "1.num_batches_tracked": np.array(0),
    },
}
FILES = sorted(GOLDEN.glob("torch_*.pth"))
assert len(FILES) == 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_pytorch_wrote(path):
    found = read_torch_file(path)
    expected = EXPECTED[path.stem.split("_")[1]]
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value, name)
    if "whole" in found:
        found["whole"][:] = 0
        np.testing.assert_array_equal(found["slice"], SHARED[4:16:3])


def zipped(program, **storages):
    """A file of the zip format around one pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for name, content in storages.items():
            archive.writestr(f"archive/data/{name.strip('_')}", content)
    return file.getvalue()


def legacy(program):
    """A file of the legacy format around one pickle."""
    before = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in before) + program + pickle.dumps([], 2)


class Canary:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrap", [zipped, legacy])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("call", ["system", "eval", "open"])
def test_nothing_that_a_file_names_is_called(tmp_path, wrap, protocol, call):
    canary = tmp_path / "canary"
    attack = {
        "system": Canary(os.system, f"touch {canary}"),
        "eval": Canary(eval, f"open({str(canary)!r}, 'w')"),
        "open": Canary(open, str(canary), "w"),
    }[call]
    path = tmp_path / "x.pth"
    path.write_bytes(wrap(pickle.dumps(collections.OrderedDict(weight=attack), protocol)))
    with pytest.raises(TorchFileError, match=r"x\.pth: .*(system|eval|open|instruction)") as caught:
        read_torch_file(path)
    assert not canary.exists() and "\n" not in str(caught.value)
    pickle.loads(pickle.dumps(attack, protocol))
    assert canary.exists()  # it was a real one


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def view(**changes):
    numbers = {"offset": 0, "shape": (2, 2), "strides": (2, 1)} | changes
    return (
        b"\x80\x02}X\x01\x00\x00\x00w"
        + TENSOR
        + b"("
        + STORAGE
        + b"".join(pickle.dumps(value, 2)[2:-1] for value in numbers.values())
        + b"\x89}tRs."
    )


def test_a_file_made_by_hand(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(zipped(view(), _0=SHARED[:4].tobytes()))
    np.testing.assert_array_equal(read_torch_file(path)["w"], SHARED[:4].reshape(2, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    {
        "outside": (zipped(view(offset=1), _0=bytes(16)), "w reaches outside"),
        "expanded": (zipped(view(shape=(1 << 40, 1 << 20), strides=(0, 0)), _0=bytes(16)), "w reaches outside"),
        "backwards": (zipped(view(strides=(-1, 1)), _0=bytes(16)), "got a tensor of"),
        "axes": (zipped(view(shape=(4,)), _0=bytes(16)), "1 axes with 2 strides"),
        "missing": (zipped(view()), "archive/data/0 is missing"),
        "too long": (zipped(view(), _0=bytes(17)), "too large"),
        "too short": (zipped(view(), _0=bytes(12)), "w has 12 bytes"),
        "no tensor": (zipped(pickle.dumps({"w": 3}, 2)), "entry 'w' is a int"),
        "nested": (zipped(pickle.dumps({"w": {"v": 3}}, 2)), "entry 'w' is a dict"),
        "no dictionary": (zipped(pickle.dumps([], 2)), "got a list; save"),
        "other name": (zipped(view().replace(b"FloatStorage", b"QuantStorage"), _0=bytes(16)), "torch.QuantStorage"),
        "storage called": (zipped(b"\x80\x02ctorch\nFloatStorage\n)R."), "it calls"),
        "deep key": (zipped(b"\x80\x02})" + b"\x85" * 200_000 + b"K\x00s."), "no string"),
        "no zip member": (zipped(b"").replace(b"data.pkl", b"data.txt"), "0 members"),
        "other pickle": (pickle.dumps([1], 2), "another kind|another pickle"),
        "page": (b"<!DOCTYPE html><html></html>", "another kind"),
        "nothing": (b"", "another kind"),
    }.values(),
)
def test_files_that_are_refused(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(TorchFileError, match=message) as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_damage_is_named_and_never_fatal(tmp_path, path):
    content, damaged = path.read_bytes(), tmp_path / "x.pth"
    draw = random.Random(0)
    for length in [draw.randrange(len(content)) for _ in range(100)]:
        damaged.write_bytes(content[:length])
        with pytest.raises(TorchFileError):
            read_torch_file(damaged)
    for _ in range(400):
        changed = bytearray(content)
        for place in [draw.randrange(len(content)) for _ in range(draw.choice([1, 3]))]:
            changed[place] = draw.randrange(256)
        damaged.write_bytes(changed)
        try:
            found = read_torch_file(damaged)
        except TorchFileError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(value, np.ndarray) for value in found.values())


def test_lengths_that_do_not_agree(tmp_path):
    content = (GOLDEN / "torch_layers_legacy.pth").read_bytes()
    place = content.rindex(struct.pack("<q", 6) + np.float32(0).tobytes())
    path = tmp_path / "x.pth"
    path.write_bytes(content[:place] + struct.pack("<q", 1 << 60) + content[place + 8 :])
    with pytest.raises(TorchFileError, match="6 were announced"):
        read_torch_file(path)
