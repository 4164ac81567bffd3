"""How functions become programs: the only ``jax.jit`` in the library, and what it tells the compiler of a platform.

On a CPU, XLA gives convolutions, products of matrices and reductions to YNNPACK, which runs each of them on one core
(jaxlib 0.10). Where a device has several, they are left to XLA's own kernels instead, which share the cores. That pays
where the others are idle, and costs some more work in all: see ``benchmarks/README.md``.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

# What YNNPACK is given; nothing, if it is empty. An experiment of XLA's: a later version may not know it.
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
_trace = functools.partial(get_opaque_trace_state, convention="jit")
_NO_TRACE = _trace()


class Program:
    """``jax.jit(function, **options)``, compiled for the platform at hand.

    Nothing is decided, and no device touched, before it is first needed. Called while another program is traced, it is
    a part of that one.
    """

    def __init__(self, function: Callable[..., Any], **options: Any):
        self._part = jax.jit(function, **options)
        self._jit = functools.partial(jax.jit, function, **options)

    @functools.cached_property
    def whole(self) -> Any:
        """What ``jax.jit`` makes of the function as a program of its own."""
        return self._jit(compiler_options=compiler_options() or None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it; the first time, it is compiled."""
        # A part of another program may have no options of its own.
        return (self.whole if _trace() == _NO_TRACE else self._part)(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> jax.stages.Lowered:
        """As that of ``jax.jit``: arrays may be abstract, and ``.compile()`` gives what is called with real ones."""
        return self.whole.lower(*args, **kwargs)


def compiler_options() -> dict[str, str]:
    """What XLA is told beside its defaults on the platform at hand; a flag that is in ``XLA_FLAGS`` is left to it."""
    several = jax.default_backend() == "cpu" and cores() >= 2 * jax.local_device_count()
    if several and YNNPACK not in os.environ.get("XLA_FLAGS", "") and _is_known(YNNPACK, ""):
        return {YNNPACK: ""}
    return {}


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _is_known(option: str, value: str) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={option: value}).lower().compile()
    except Exception:  # of whatever kind that version of XLA refuses it with
        return False
    return True
