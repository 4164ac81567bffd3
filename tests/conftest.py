"""Eight virtual devices, so that every law about devices can be tested on any machine; and quick compilation, since the
programs are tiny: little is optimised, and what was compiled is kept on disk for the other tests that need it.

In memory it is kept for one module, and of a module whose tests are in groups for one group: a worker that keeps all
that it ever compiled needs 8 GB.
"""

import ctypes
import gc
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


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
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed is not given back otherwise
