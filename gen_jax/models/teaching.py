"""What games with a teacher share: a trained diffusion that never moves, and a student that begins as its copy."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from gen_jax.protocol import Buffers, Params

Plain = TypeVar("Plain")


def taught_by(params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
    """Of a trained diffusion: those of ``teacher``, and of ``student`` the same."""
    network, carried = params["denoiser"], buffers["denoiser"]
    student, own = jax.tree.map(jnp.copy, (network, carried))  # the state is donated
    return {"student": student, "teacher": network}, {"student": own, "teacher": carried}


def player(name: str, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
    """Those of ``name`` as a diffusion of its own."""
    return {"denoiser": params[name]}, {"denoiser": buffers[name]}


def nested(kind: type[Plain], value: Any) -> Plain:
    """A configuration within a configuration, from itself or from what JSON makes of it."""
    if not isinstance(value, Mapping):
        return value
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in value.items()})
