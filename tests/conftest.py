"""Eight virtual devices, so that every law about devices can be tested on any machine; and quick compilation, since the
programs are tiny: little is optimised or fused, by the older of two code generators and in one piece, which nearly
halves the time of a suite that compiles most of it; and what was compiled is kept on disk for the other tests that
need it. The notebooks, the trilemma and the benchmarks run what users run.

What a module made by functools.cache is dropped when its tests (or those of one group) are over, and all compiled
programs when a worker has grown to 1.7 GB: one that keeps everything needs 8 GB, and then falls.
"""

import ctypes
import gc
import os
import sys
import zlib
from pathlib import Path

_QUICK = ("backend_optimization_level=0", "cpu_use_fusion_emitters=false", "cpu_parallel_codegen_split_count=1")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *(f"--xla_{flag}" for flag in _QUICK)])

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


LARGEST = 1_700_000_000  # bytes of a worker


def pytest_addoption(parser):
    parser.addoption("--shard", default="", metavar="I/N", help="of N parts of the tests only the I-th")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config, items):
    if config.getoption("--shard"):
        shard, count = map(int, config.getoption("--shard").split("/"))
        if not 1 <= shard <= count:
            raise pytest.UsageError(f"--shard: expected I/N with 1 <= I <= N, got {shard}/{count}")
        kept = [item for item in items if zlib.crc32(repr(_whole(item)).encode()) % count == shard - 1]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
    for item in items:  # one worker makes and compiles what the tests of a module share
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _whole(item):
    """What must not be parted: the tests of a group, or one test."""
    group = item.get_closest_marker("xdist_group")
    return (item.path.name, group.args) if group else item.nodeid


def _part(item):
    """What a test shares its programs with: its module, and its group where it is in one."""
    group = item.get_closest_marker("xdist_group")
    return item.path, group.args if group else ()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is not None and _part(item) == _part(nextitem):
        return
    for value in list(vars(sys.modules[item.module.__name__]).values()):
        if callable(getattr(value, "cache_clear", None)):  # what it made by functools.cache
            value.cache_clear()
    if sys.platform == "linux" and _resident() > LARGEST:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed is not given back otherwise


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
