"""Files that were made to do harm: to run a program, to fill the memory, never to end, to be misunderstood."""

import io
import json
import math
import os
import pickle
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image

BOMB = 2000  # mebibytes that a bomb unfolds to: too many, and fewer than a reader has room for


def sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


# No regular files, or hardly one; each is made at a path.
ODD = {
    "a named pipe": os.mkfifo,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "a device without an end": lambda path: path.symlink_to("/dev/zero"),
    "a device that waits": lambda path: path.symlink_to("/dev/ptmx"),
    "a folder": Path.mkdir,
    "a terabyte of nothing": sparse,
}


# Programs; each would write a canary.


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickled(canary: Path, protocol: int) -> bytes:
    return pickle.dumps({"x": Call(os.system, f"touch {canary}")}, protocol)


def postscript(canary: Path) -> bytes:
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
        b"(" + os.fsencode(canary) + b") (w) file dup (x) writestring closefile\n"
        b"0 0 8 8 rectfill showpage\n%%EOF\n"
    )


def postscript_of_dos(canary: Path) -> bytes:
    program = postscript(canary)
    return struct.pack("<4s6IH", b"\xc5\xd0\xd3\xc6", 32, len(program), 0, 0, 0, 0, 0xFFFF) + bytes(2) + program


def objects(canary: Path) -> np.ndarray:
    return np.array([Call(os.system, f"touch {canary}")], object)


def saved(save, *arguments, **options) -> bytes:
    file = io.BytesIO()
    save(file, *arguments, **options)
    return file.getvalue()


def legacy(program: bytes, keys: tuple[str, ...] = ()) -> bytes:
    """PyTorch's format before 2020, around one pickle."""
    before = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in before) + program + pickle.dumps([*keys], 2)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def careless_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as opened:
        pickle.loads(opened.read("x/data.pkl"))


def careless_legacy(path: Path) -> None:
    with open(path, "rb") as file:
        for _ in range(4):
            pickle.load(file)


def careless_numpy(path: Path) -> None:
    loaded = np.load(path, allow_pickle=True)
    list(loaded.values() if path.read_bytes().startswith(b"PK") else loaded)


# The bytes, with a canary's path in them, and who would run them.
PROGRAMS = {
    "PostScript": (postscript, lambda path: Image.open(path).load()),
    "PostScript of DOS": (postscript_of_dos, lambda path: Image.open(path).load()),
    "a pickle in text": (lambda canary: pickled(canary, 0), lambda path: pickle.loads(path.read_bytes())),
    "a pickle": (lambda canary: pickled(canary, 2), lambda path: pickle.loads(path.read_bytes())),
    "a pickle of today": (lambda canary: pickled(canary, 5), lambda path: pickle.loads(path.read_bytes())),
    "an array of objects": (lambda canary: saved(np.save, objects(canary), allow_pickle=True), careless_numpy),
    "arrays of objects": (lambda canary: saved(np.savez, image=objects(canary), allow_pickle=True), careless_numpy),
    "a pickle for PyTorch": (lambda canary: zipped({"x/data.pkl": pickled(canary, 2)}), careless_zip),
    "a pickle for older PyTorch": (lambda canary: legacy(pickled(canary, 2)), careless_legacy),
    "an expression in a header": (
        lambda canary: npy(f"__import__('os').system('touch {canary}')"),
        lambda path: eval(path.read_bytes()[12:]),
    ),
}


# Bytes that announce what they do not hold, or hold more than there is room for.


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header) + 1) + header.encode() + b"\n" + content


def array(shape: str, kind: str = "|u1") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"


IMAGES = saved(np.save, np.zeros((4, 8, 8, 3), np.uint8))


def deflated_bomb(before: bytes = b"") -> bytes:
    """A deflated stream of ``before`` and ``BOMB`` mebibytes of zeros."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = compress.compress(before) + compress.flush(zlib.Z_FULL_FLUSH)
    block = compress.compress(bytes(1 << 20)) + compress.flush(zlib.Z_FULL_FLUSH)
    return start + block * BOMB + b"\x03\x00"


def archive(
    members: list[tuple[str, int, int]], content: bytes, method: int = zipfile.ZIP_STORED, repeated: int = 1
) -> bytes:
    """A zip file whose members, of (name, bytes here, bytes unfolded), are all the same bytes."""
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, method, 0, 33, 0, 0, 0, 5, 0) + b"x.npy" + content
    central = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, method, 0, 33, 0, here, unfolded, len(name), *[0] * 6)
        + name.encode()
        for name, here, unfolded in members
    )
    central, count = central * repeated, min(len(members) * repeated, 0xFFFF)
    return local + central + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(central), len(local), 0)


def zip_bomb() -> bytes:
    head = npy(array(f"({BOMB}, 1024, 1024)"))
    content = deflated_bomb(head)
    return archive([("x.npy", len(content), len(head) + (BOMB << 20))], content, zipfile.ZIP_DEFLATED)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    """A colour PNG of so many pixels, all black."""
    compress = zlib.compressobj(1)
    rows = b"".join(compress.compress(bytes(1 + 3 * width)) for _ in range(height)) + compress.flush()
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def picture(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise).save, kind)


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose frame says that it is so large."""
    content = picture("JPEG")
    frame = content.index(b"\xff\xc0") + 5
    return content[:frame] + struct.pack(">2H", height, width) + content[frame + 4 :]


def jpeg_of_many_scans(side: int, count: int) -> bytes:
    content = saved(Image.new("L", (side, side)).save, "JPEG", progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * count + content[-2:]


def webp(side: int) -> bytes:
    still = picture("WEBP")[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (side - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(still)) + b"WEBP" + canvas + still


def storage(kind: str, key: str, size: int) -> bytes:
    """The instructions that make a storage of PyTorch."""
    number = b"K" + bytes([size]) if size < 256 else b"\x8a\x08" + struct.pack("<q", size)
    words = [b"X" + struct.pack("<I", len(word)) + word.encode() for word in ("storage", key, "cpu")]
    return b"(" + words[0] + f"ctorch\n{kind}\n".encode() + words[1] + words[2] + number + b"tQ"


def views(names: int, kind: str, size: int) -> bytes:
    """The pickle of so many tensors that are all of one storage's numbers."""
    program = [b"\x80\x02}("]
    shape = b"\x8a\x08" + struct.pack("<q", size)
    for index in range(names):
        name = f"t{index}".encode()
        program += [b"X", struct.pack("<I", len(name)), name, b"ctorch._utils\n_rebuild_tensor_v2\n("]
        program += [storage(kind, "0", size), b"K\x00", shape, b"\x85K\x01\x85\x89}tR"]
    return b"".join(program) + b"u."


def tensors(header: object, content: bytes = bytes(64), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def tensor(start: int, end: int, shape: tuple[int, ...] = (16,), kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}


DEEP = "[" * 100_000 + "]" * 100_000
ABOUT = {
    "name": "a", "split": "b", "n": 4, "fingerprint": "c", "quantisation": "8 bits", "network": "digits",
    "network_hash": "d", "resize": "none", "shape": [8, 8, 1],
}  # fmt: skip


def statistics(about: object = ABOUT, **changes: np.ndarray) -> bytes:
    arrays = {"mean": np.zeros(3), "scatter": np.zeros((3, 3)), "features": np.zeros((4, 3), np.float32)} | changes
    text = about if isinstance(about, str) else json.dumps(about)
    return safetensors.numpy.save(arrays, {"format": "gen_jax statistics 1", "about": text})


def features(hyperparameters: object) -> bytes:
    text = hyperparameters if isinstance(hyperparameters, str) else json.dumps(hyperparameters)
    return safetensors.numpy.save({"params/hidden/bias": np.zeros(4, np.float32)}, {"hyperparameters": text})


def gzip_bomb() -> bytes:
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated_bomb(struct.pack(">4I", 0x0803, BOMB, 1024, 1024)) + bytes(8)


CONTENTS = {
    "nothing": lambda: b"",
    "not UTF-8": lambda: b"\xff\xfe\xfa\x00\xd8" * 50,
    "a page": lambda: b"<!DOCTYPE html><html><body>404</body></html>",
    "PDF": lambda: b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(x)>>>>endobj\ntrailer<</Root 1 0 R>>",
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "TIFF": lambda: picture("TIFF"),
    "PPM": lambda: b"P6\n8 8\n255\n" + bytes(192),
    **{
        f"half a {kind}": lambda kind=kind: picture(kind)[: len(picture(kind)) // 2]
        for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP")
    },
    "a PNG that says it is large": lambda: png(8, 8)[:16] + struct.pack(">2I", 30000, 30000) + png(8, 8)[24:],
    "a PNG that is large": lambda: png(12000, 12000),
    "a JPEG that says it is large": lambda: jpeg(65500, 65500),
    "a BMP that says it is large": lambda: (
        picture("BMP")[:18] + struct.pack("<2i", 30000, 30000) + picture("BMP")[26:]
    ),
    "a GIF that says it is large": lambda: picture("GIF")[:6] + b"\xff\xff\xff\xff" + picture("GIF")[10:],
    "a PNG of pieces before its pixels": lambda: png(8, 8)[:33] + chunk(b"tEXt", b"") * 200_000 + png(8, 8)[33:],
    "a PNG of pieces after its pixels": lambda: png(8, 8)[:-12] + chunk(b"tEXt", b"") * 200_000 + png(8, 8)[-12:],
    "a JPEG of pieces": lambda: (
        picture("JPEG")[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 260 + picture("JPEG")[2:]
    ),
    "a JPEG of many scans": lambda: jpeg_of_many_scans(4096, 5000),
    "a WebP that says it is large": lambda: webp(16000),
    "an array that says it is large": lambda: npy(array("(1099511627776, 1024)")),
    "an array of more than there are numbers": lambda: npy(array("(4294967296, 4294967296)")),
    "an array of less than nothing": lambda: npy(array("(-4, 8, 8)"), bytes(256)),
    "an array of wide voids": lambda: npy(array("(1099511627776,)", "|V0")),
    "a header without an end": lambda: npy("(" * 9000),
    "a header longer than its file": lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "a zip bomb": zip_bomb,
    "a zip file of many members": lambda: archive([("x.npy", 0, 0)], b"", repeated=2_000_000),
    "a zip file of one member many times": lambda: archive(
        [(f"{i}.npy", 1 << 20, 1 << 20) for i in range(5000)], npy(array("(1048000,)")) + bytes(1 << 20)
    ),
    "a path out of a zip file": lambda: zipped({"../../../../tmp/x.npy": IMAGES}),
    "a path from the root of a zip file": lambda: zipped({"/tmp/x.npy": IMAGES}),
    "a zip file of text": lambda: zipped({"image.txt": b"hello"}),
    "a zip file with a large array": lambda: zipped({"image.npy": npy(array("(1099511627776, 8, 8)"))}),
    "a rare compression": lambda: zipped({"image.npy": IMAGES}, zipfile.ZIP_LZMA),
    "a gzip bomb": gzip_bomb,
    "many views of one storage": lambda: zipped(
        {"x/data.pkl": views(20_000, "FloatStorage", 1 << 20), "x/data/0": bytes(4 << 20)}
    ),
    "numbers without an end": lambda: legacy(views(1, "DoubleStorage", 1 << 61), ("0",)) + struct.pack("<q", 1 << 61),
    "a terabyte announced": lambda: legacy(views(1, "ByteStorage", 1 << 40), ("0",)) + struct.pack("<q", 1 << 40),
    "a long text in a pickle": lambda: b"\x80\x02\x8d" + struct.pack("<Q", 1 << 40),
    "a deep pickle": lambda: legacy(b"\x80\x02})" + b"\x85" * 200_000 + b"K\x00s."),
    "a header beyond its file": lambda: tensors({}, length=1 << 62),
    "a header of 90 MB": lambda: tensors({}, bytes(90 << 20), length=90 << 20),
    "tensors beyond their file": lambda: tensors({"x": tensor(0, 1 << 40, (1 << 38,))}),
    "tensors that overlap": lambda: tensors({"x": tensor(0, 64), "y": tensor(0, 64)}),
    "tensors of another size": lambda: tensors({"x": tensor(0, 64, (1 << 40,))}),
    "tensors of 8 bits": lambda: tensors({"x": tensor(0, 64, (64,), "F8_E4M3")}),
    "tensors in deep JSON": lambda: tensors(DEEP.encode()),
    "deep JSON": lambda: DEEP.encode(),
    **{
        f"statistics with {key} = {value}": lambda key=key, value=value: statistics({**ABOUT, key: value})
        for key, value in (
            ("network", 3), ("n", 0), ("n", 5), ("n", "x"), ("shape", 3), ("shape", [1, {}]), ("name", None)
        )
    },
    "statistics that are a list": lambda: statistics([1]),
    "statistics of nothing": lambda: statistics({}),
    "statistics in deep JSON": lambda: statistics(DEEP),
    "statistics that do not fit": lambda: statistics(scatter=np.zeros((3, 2))),
    "statistics of a number": lambda: statistics(mean=np.zeros(())),
    "statistics that are not finite": lambda: statistics(mean=np.full(3, math.nan)),
    "statistics with more": lambda: statistics(other=np.zeros(3)),
    "statistics of truths": lambda: statistics(mean=np.zeros(3, bool)),
    "statistics with half a score": lambda: statistics(**{"score.n": np.ones(2)}),
    **{
        f"features with {str(value)[:40]}": lambda value=value: features(value)
        for value in (
            [1], {}, 3, None, {"inputs": "x"}, {"inputs": 1, "depth": 3}, {"inputs": 1, "widths": 3},
            {"inputs": 1, "widths": []}, {"inputs": 1, "widths": [10**12], "features": 10**12},
            {"inputs": 1, "widths": [8] * 10_000}, {"inputs": 1},
        )
    },
    "features in deep JSON": lambda: features(DEEP),
}  # fmt: skip
