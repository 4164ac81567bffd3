"""R4, R9, R16 and the long run: data, divergence, bits, and what a run leaves lying while it goes on."""

import json
import os
import re
import time
from itertools import islice
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from gen_jax import data
from gen_jax.train import checkpoint, shard
from gen_jax.train.checkpoint import Checkpoints
from soak.bench import Bench, bits, cores
from tests.processes import MODELS


def r4(bench: Bench) -> None:
    """Data go on at every position of two epochs as if nothing had happened: no example twice, none left out."""
    images = np.arange(60, dtype=np.uint8).repeat(4).reshape(60, 2, 2, 1)
    folder = bench.folder / "images"
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{index:02d}.png")
    sources = {"in memory": data.from_arrays(images), "from disk": data.load(str(folder), memory_limit=0)}
    for where, source in sources.items():
        every = sorted(source.read(np.arange(source.size))["image"][:, 0, 0, 0])
        for size in (6, 7, source.size - 1):
            batches, steps = data.Batches(source, size, 3), -(-2 * source.size // size)
            whole = _images(batches, 0, steps)
            ids = np.concatenate(whole)[: 2 * source.size, 0, 0, 0]
            for epoch in np.split(ids, 2):
                bench.check(f"an epoch {where} by {size}", sorted(epoch) == every, epoch)
            for first in bench.some(list(range(steps))):
                found = _images(batches, first, steps - first)
                bench.check(f"{where} from {first} by {size}", all(map(np.array_equal, found, whole[first:])))


def _images(batches: data.Batches, first: int, count: int) -> list[np.ndarray]:
    return [batch["image"] for batch in islice(batches.iterate(first), count)]


def r9(bench: Bench) -> None:
    """What is not finite, by rates or put in: it stops with 5, names step and player, and none of it is saved."""
    flags = {"vae": "--learning-rate", "dcgan": "--generator.learning-rate", "ddpm": "--learning-rate"}
    for family, rate in bench.some([(f, r) for f in MODELS for r in ("1e10", "1e20", "1e30", "1e38")]):
        with bench.trial(f"{family} at {rate}") as place:
            ended = bench.run(family, place, flags[family], rate, "--checkpoint-every", "1")
            assert ended.status in (0, 5) and ended.clean, ended
            assert ended.status == 0 or re.search(r"step \d+: \S+ .*of player '\w+' is", ended.last), ended
            for step in Checkpoints(place / "checkpoints").steps():
                assert not _bad_leaves(place / "checkpoints" / str(step)), step
    bench.suite("test_train.py", chosen="finite")  # in losses, gradients, memories, averages and buffers


def _bad_leaves(path: Path) -> list[str]:
    where = shard.replicated(shard.data_mesh())
    saved = checkpoint.describe(path)
    abstract = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where) for n, a in saved.items()}
    arrays = {name: np.asarray(array) for name, array in checkpoint.read(path, abstract).items()}
    return [n for n, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]


def r16(bench: Bench) -> None:
    """What should change no bit changes none: rows, saves, pictures, measurements, cores, programs, zones of time."""
    toggles: dict[str, tuple[list[str], dict[str, str], list[str]]] = {
        "again": ([], {}, []),
        "and again": ([], {}, []),
        "rows": (["--log-every", "5"], {}, []),
        "saves": (["--checkpoint-every", "7"], {}, []),
        "pictures": (["--sample-every", "2"], {}, []),
        "measurements": (["--evaluate-every", "4", "--evaluate-images", "100", "--metrics", "fid"], {}, []),
        "no stored programs": ([], {"JAX_ENABLE_COMPILATION_CACHE": "false"}, []),
        "a zone of time": ([], {"TZ": "Pacific/Auckland"}, []),
        "hashes of strings": ([], {"PYTHONHASHSEED": "7"}, []),
        "another language": ([], {"LC_ALL": "tr_TR.UTF-8", "LANG": "C"}, []),
        "watched": (["--stall-seconds", "100"], {}, []),
    }
    if len(cores()) > 1:
        toggles["one core"] = ([], {}, ["taskset", "-c", str(cores()[0])])
    for name, (flags, env, prefix) in bench.some(list(toggles.items())):
        with bench.trial(name) as place:
            ended = bench.run("vae", place, *flags, env=env, prefix=prefix)
            assert ended.status == 0, ended
            assert bits(place) == bits(bench.reference("vae"))


def long_run(bench: Bench) -> None:
    """20,000 steps with pictures, measurements and saves every 500: memory, descriptors, threads, programs are flat."""
    steps = max(4000, bench.number(20_000))
    every = [f"--{what}-every=500" for what in ("checkpoint", "sample", "evaluate")]
    options = ["--steps", str(steps), "--log-every", "100", "--evaluate-images", "300", "--metrics", "fid", *every]
    with bench.trial(f"{steps} steps") as place:
        place.mkdir()
        with open(place / "errors", "w") as errors:
            process = bench.start("vae", place / "run", *options, env={"JAX_LOG_COMPILES": "1"}, stderr=errors)
            seen: list[tuple[int, dict[str, int]]] = []
            while process.poll() is None:
                time.sleep(0.5)
                found = _resources(process.pid, place)
                if found is not None:
                    seen.append(found)
        assert process.returncode == 0, (place / "errors").read_text()[-600:]
        late = [what for step, what in seen if step >= steps // 4]
        first, last = late[: max(1, len(late) // 10)], late[-max(1, len(late) // 10) :]
        ends = {name: (max(x[name] for x in first), max(x[name] for x in last)) for name in late[0]}
        bench.notes.append(f"from a quarter of the steps to the end: {ends}")
        assert ends["memory"][1] < 1.05 * ends["memory"][0] + 20e6, ends
        assert ends["files"][1] <= ends["files"][0] + 4 and ends["threads"][1] <= ends["threads"][0] + 4, ends
        assert ends["programs"][1] == ends["programs"][0] > 0, ends


def _resources(pid: int, place: Path) -> tuple[int, dict[str, int]] | None:
    """The step, and bytes, descriptors, threads and compiled programs of a process."""
    try:
        row = json.loads((place / "run" / "metrics.jsonl").read_text().splitlines()[-1])
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files, threads = (len(list(Path(f"/proc/{pid}/{name}").iterdir())) for name in ("fd", "task"))
    except (OSError, IndexError, ValueError):
        return None
    programs = (place / "errors").read_text().count("Finished XLA compilation")
    return int(row["step"]), {"memory": memory, "files": files, "threads": threads, "programs": programs}
