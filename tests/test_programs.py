"""What the compiler is told where, and that a program is otherwise what ``jax.jit`` makes."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from gen_jax import programs
from gen_jax.programs import YNNPACK, Program, compiler_options
from gen_jax.train import shard


@pytest.fixture
def many_cores(monkeypatch):
    monkeypatch.setattr(programs, "cores", lambda: 2 * jax.local_device_count())


def _convolve(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


SHAPES = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((64, 14, 14, 64), (3, 3, 64, 64))]


def _is_on_ynnpack(program):
    return "__ynn" in program.lower(*SHAPES).compile().as_text()


def test_convolutions_are_off_ynnpack_where_a_cpu_device_has_several_cores(many_cores):
    assert _is_on_ynnpack(jax.jit(_convolve)) and not _is_on_ynnpack(Program(_convolve))


def test_nothing_is_asked_for_elsewhere(many_cores, monkeypatch):
    assert compiler_options() == {YNNPACK: ""}
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"--{YNNPACK}=")
        assert compiler_options() == {}
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        assert compiler_options() == {}
    with monkeypatch.context() as patch:
        patch.setattr(programs, "cores", lambda: 2 * jax.local_device_count() - 1)
        assert compiler_options() == {}
        assert _is_on_ynnpack(Program(_convolve))


def test_a_flag_that_this_xla_does_not_know_is_left_out(many_cores, monkeypatch):
    monkeypatch.setattr(programs, "YNNPACK", "xla_cpu_no_such_flag")
    assert compiler_options() == {}
    assert Program(lambda x: x + 1)(1) == 2
    assert not programs._is_known(YNNPACK, "no such value")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity is Linux's")
def test_cores_are_those_that_the_process_may_use():
    every = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(every)})
        assert programs.cores() == 1
    finally:
        os.sched_setaffinity(0, every)
    assert programs.cores() == len(every)


def test_a_program_inside_another_is_a_part_of_it(many_cores):
    square = Program(lambda x: x**2)
    assert square(3.0) == jax.jit(square)(3.0) == jax.jit(lambda: square(3.0))() == 9
    assert jax.grad(square)(3.0) == jax.jvp(square, (3.0,), (1.0,))[1] == 6
    np.testing.assert_array_equal(jax.vmap(square)(jnp.arange(3.0)), [0, 1, 4])
    assert jax.lax.scan(lambda x, _: (square(x), None), 3.0, length=2)[0] == 81
    assert jax.eval_shape(square, 3.0).shape == () and len(jax.make_jaxpr(square)(3.0).eqns) == 1
    with jax.disable_jit():
        assert square(3.0) == 9


def test_what_jit_is_told_holds(many_cores):
    mesh = shard.data_mesh()

    @functools.partial(
        Program, static_argnames="n", donate_argnames="x", out_shardings=(shard.split(mesh), shard.replicated(mesh))
    )
    def scaled(x, *, n):
        return n * x, x.sum()

    for _ in range(2):
        x = jax.device_put(jnp.ones(8), shard.split(mesh))
        y, total = scaled(x, n=2)
        assert x.is_deleted()
        assert (y.sharding.spec, total.sharding.spec) == (PartitionSpec("data"), PartitionSpec())
        np.testing.assert_array_equal(y, 2 * np.ones(8))
    assert scaled.whole._cache_size() == 1
    compiled = scaled.lower(jax.ShapeDtypeStruct((8,), jnp.float32, sharding=shard.split(mesh)), n=3).compile()
    assert compiled(jax.device_put(jnp.ones(8), shard.split(mesh)))[0][0] == 3
