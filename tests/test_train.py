"""The step's options, averages, checkpoints and the loop, on the smallest games."""

import dataclasses
import json
import os
import shutil
import signal
import threading
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gen_jax
from gen_jax import data
from gen_jax.models import VAEConfig
from gen_jax.protocol import Aux, Turn, due
from gen_jax.settings import ConfigError
from gen_jax.train import loop, shard
from gen_jax.train.checkpoint import CheckpointError, Checkpoints, flatten, state_sha256
from gen_jax.train.ema import Average, update
from gen_jax.train.loop import DivergedError, Training
from gen_jax.train.manifest import verify
from gen_jax.train.optimizers import Adam
from gen_jax.train.signals import InterruptedRun
from gen_jax.train.state import not_finite
from gen_jax.train.step import init_state, make_step

TINY = VAEConfig(latent=2, widths=(4,), dense=(8,))
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype(np.uint8)
QUICK = Training(steps=6, batch_size=8, log_every=2, checkpoint_every=3)


def fit(directory=None, training=QUICK, images=IMAGES, **options):
    return gen_jax.fit(TINY, images, training=training, directory=directory, quiet=True, **options)


# A game whose every number is known: the player `point` descends |point - mean(batch)|^2 / 2.


@dataclasses.dataclass(frozen=True)
class Point:
    makes: str = "image"
    given: tuple = ()
    network_evaluations: int = 0
    poison: int = -1  # the step at which the loss is not a number

    @property
    def turns(self):
        return (Turn("point", self.loss), Turn("other", self.other, every=3), Turn("late", self.late, start=2, stop=4))

    def init(self, key, batch):
        one = jnp.ones(())
        return {"point": one, "other": one, "late": one, "idle": one}, {
            "point": {}, "other": {}, "late": {}, "idle": {"count": jnp.zeros(())}
        }  # fmt: skip

    def loss(self, params, buffers, batch, key, *, step, ema):
        value = 0.5 * jnp.mean((params["point"] - batch["image"].mean(axis=(1, 2, 3))) ** 2)
        return jnp.where(step == self.poison, jnp.nan, value), Aux({"distance": jnp.abs(params["point"])})

    def other(self, params, buffers, batch, key, *, step, ema):
        return params["other"], Aux({})

    def late(self, params, buffers, batch, key, *, step, ema):
        return params["late"] * params["point"], Aux({})

    def sample(self, params, buffers, key, n):
        return jnp.zeros((n, 4, 4, 1))


class Constant:
    batch_size = 8

    def batch(self, step):
        return {"image": np.full((8, 4, 4, 1), 0.25, np.float32) + np.arange(8, dtype=np.float32)[:, None, None, None]}

    def iterate(self, start):
        while True:
            yield self.batch(0)


SGD = {name: optax.sgd(0.1) for name in ("point", "other", "late")}
MESH = shard.data_mesh(jax.devices()[:1])


def play(model=Point(), training=QUICK, directory=None, optimizers=SGD, **options):
    return loop.fit(model, Constant(), training, optimizers, directory=directory, mesh=MESH, quiet=True, **options)


def test_turns_are_due_when_their_window_and_interval_say():
    turns = Point().turns
    assert [due(turns, step) for step in range(6)] == [(0, 1), (0,), (0, 2), (0, 1, 2), (0,), (0,)]


def test_the_loop_plays_the_turns_that_are_due():
    state = play(training=dataclasses.replace(QUICK, ema_half_life=0.0)).state
    target = 0.25 + 3.5
    np.testing.assert_allclose(state.params["point"], target + (1 - target) * 0.9**6, rtol=1e-6)
    np.testing.assert_allclose(state.params["other"], 1 - 0.1 * 2, rtol=1e-6)  # at steps 0 and 3
    points = [target + (1 - target) * 0.9 ** (step + 1) for step in (2, 3)]  # the point moves first
    np.testing.assert_allclose(state.params["late"], 1 - 0.1 * sum(points), rtol=1e-6)
    np.testing.assert_array_equal(state.params["idle"], 1.0)
    chex.assert_trees_all_equal(state.ema["params"], state.params)  # no half-life: the last weights


@pytest.mark.parametrize("count", [2, 3, 6])
def test_several_steps_in_one_call_are_the_same_steps(count):
    one = play().state
    many = play(training=dataclasses.replace(QUICK, steps_per_call=count)).state
    chex.assert_trees_all_close(one.params, many.params, rtol=1e-6)
    chex.assert_trees_all_close(one.ema, many.ema, rtol=1e-6)
    assert int(many.step) == 6


@pytest.mark.parametrize("count", [2, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(count):
    whole = play().state
    parts = play(training=dataclasses.replace(QUICK, accumulate=count)).state
    chex.assert_trees_all_close(whole.params, parts.params, rtol=1e-6)


@pytest.mark.parametrize("half_life", [0.0, 10.0, 1e4])
@pytest.mark.parametrize("ramp", [0.05, 1.0])
def test_average_follows_its_closed_form(half_life, ramp):
    values = np.random.default_rng(0).normal(size=20)
    average = expected = np.float64(1.0)
    for step, value in enumerate(values):
        decay = Average(half_life, ramp).decay(8, jnp.asarray(step))
        average = update(jnp.asarray(average), jnp.asarray(value), decay)
        life = min(half_life, ramp * 8 * (step + 1))
        weight = 0.5 ** (8 / life) if life else 0.0
        expected = weight * expected + (1 - weight) * value
    np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_average_copies_counts():
    assert update(jnp.asarray(3), jnp.asarray(7), jnp.asarray(0.9)) == 7


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    seen = []

    class Spy(Point):
        def loss(self, params, buffers, batch, key, *, step, ema):
            seen.append(params["point"].dtype)
            return super().loss(params, buffers, batch, key, step=step, ema=ema)

    state = play(Spy(), dataclasses.replace(QUICK, precision="bfloat16")).state
    assert set(seen) == {jnp.dtype("bfloat16")}
    chex.assert_type(jax.tree.leaves((state.params, state.ema)), jnp.float32)
    run = fit(training=dataclasses.replace(QUICK, precision="bfloat16"))
    chex.assert_tree_all_finite(run.params)


def test_fsdp_splits_large_leaves_and_trains_the_same():
    config = VAEConfig(latent=4, widths=(32,), dense=(64,))
    make = {}
    for fsdp in (False, True):
        training = dataclasses.replace(QUICK, fsdp=fsdp)
        make[fsdp] = gen_jax.fit(config, IMAGES, training=training, quiet=True).result.state
    split = [x for x in jax.tree.leaves(make[True].params) if not x.sharding.is_fully_replicated]
    assert split and all(x.size >= shard.FSDP_MINIMUM for x in split)
    for a, b in zip(jax.tree.leaves(make[False].params), jax.tree.leaves(make[True].params)):
        np.testing.assert_allclose(a, b, atol=3e-4)


@pytest.mark.parametrize("optimizer", [Adam(clip_norm=0.01), Adam(weight_decay=0.1), Adam(decay="cosine")])
def test_optimizers_are_what_their_fields_say(optimizer):
    transform = optimizer.build(10)
    params = {"w": jnp.full(3, 2.0)}
    state = transform.init(params)
    sizes = []
    for _ in range(10):
        updates, state = transform.update({"w": jnp.full(3, 5.0)}, state, params)
        sizes.append(float(jnp.abs(updates["w"][0])))
    if optimizer.decay == "cosine":
        expected = 2e-4 * 0.5 * (1 + np.cos(np.pi * np.arange(10) / 10))
        np.testing.assert_allclose(sizes, expected, rtol=1e-3, atol=1e-9)
    else:  # Adam's step under a constant gradient is the learning rate, plus decay times weight
        expected = 2e-4 * (1 + optimizer.weight_decay * 2.0)
        np.testing.assert_allclose(sizes, expected, rtol=1e-3)


def test_warm_up_rises_to_the_learning_rate():
    transform = Adam(learning_rate=1.0, warmup_steps=4).build(10)
    state, sizes = transform.init(jnp.ones(())), []
    for _ in range(6):
        updates, state = transform.update(jnp.ones(()), state, jnp.ones(()))
        sizes.append(-float(updates))
    np.testing.assert_allclose(sizes, [0, 0.25, 0.5, 0.75, 1, 1], rtol=1e-3, atol=1e-6)


def test_a_player_without_optimizer_is_named():
    with pytest.raises(ValueError, match="no optimizer for player 'point'"):
        init_state(Point().init, Point().turns, {}, jax.random.key(0), {})
    with pytest.raises(ConfigError, match="the model's players are"):
        fit(optimizers={"critic": Adam()})


@pytest.mark.parametrize("call", [1, 2])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(tmp_path, call):
    training = dataclasses.replace(QUICK, steps=9, checkpoint_every=2, steps_per_call=call)
    with pytest.raises(DivergedError, match=r"step 4: loss of player 'point' is nan.* in another --workdir"):
        play(Point(poison=4), training, tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.newest_good() == 4  # the state before the poisoned step
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), play().state)
    chex.assert_tree_all_finite(checkpoints.restore(abstract).params)


def _to_infinity(at):
    """Plain descent, with an infinite step at one of its turns."""
    return {**SGD, "point": optax.sgd(lambda count: jnp.where(count == at, jnp.inf, 0.1))}


def _with_infinite_memory(at):
    """Plain descent beside a memory that nothing is made of, infinite after one of the turns."""

    def remember(updates, state, params=None):
        return updates, {"count": state["count"] + 1, "memory": jnp.where(state["count"] == at, jnp.inf, 0.0)}

    start = {"count": jnp.zeros(()), "memory": jnp.zeros(())}
    memory = optax.GradientTransformation(lambda params: start, remember)
    return {**SGD, "point": optax.chain(optax.sgd(0.1), memory)}


@dataclasses.dataclass(frozen=True)
class Spoilt(Point):
    at: int = 4

    def loss(self, params, buffers, batch, key, *, step, ema):
        value, aux = super().loss(params, buffers, batch, key, step=step, ema=ema)
        return value, aux._replace(buffers={"idle": {"count": jnp.where(step == self.at, jnp.nan, 0.0)}})


@pytest.mark.parametrize(
    ("model", "optimizers", "name", "player"),
    [
        (Point(), _to_infinity(4), "params.point", "point"),
        (Point(), _with_infinite_memory(4), "opt.point.1.memory", "point"),
        (Spoilt(), SGD, "buffers.idle.count", "idle"),
    ],
)
def test_a_state_that_is_not_finite_is_never_saved_though_its_losses_were(tmp_path, model, optimizers, name, player):
    training = dataclasses.replace(QUICK, checkpoint_every=1)
    with pytest.raises(DivergedError, match=f"step 5: {name} of player '{player}' is not finite; not saved"):
        play(model, training, tmp_path, optimizers)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3, 4]
    with pytest.raises(DivergedError, match=f"step 5: {name}"):  # nor is it what a run ends with
        play(model, dataclasses.replace(QUICK, steps=5), None, optimizers)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_whatever_number_of_a_state_is_not_finite_it_is_found(value):
    state = play().state
    wide = jax.device_put(np.ones((16, 3), np.float32), shard.split(shard.data_mesh()))
    state = dataclasses.replace(state, params={**state.params, "wide": {"w": wide}})
    assert not_finite(state) is None
    leaves, structure = jax.tree_util.tree_flatten_with_path(state)
    tried = 0
    for index, (path, leaf) in enumerate(leaves):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        spoilt = np.array(leaf)
        spoilt[(-1,) * leaf.ndim] = value
        others = [leaf for _, leaf in leaves]
        others[index] = jax.device_put(spoilt, leaf.sharding)
        found = not_finite(jax.tree_util.tree_unflatten(structure, others))
        assert found is not None and found[0] == jax.tree_util.keystr(path, simple=True, separator=".")
        assert found[1] in found[0].split(".") and found[1] in state.params
        tried += 1
    assert tried >= 10


def test_the_step_donates_its_state():
    run = make_step(Point().turns, SGD, Average())
    state = jax.jit(lambda k, b: init_state(Point().init, Point().turns, SGD, k, b))(
        jax.random.key(0), Constant().batch(0)
    )
    run.one(state, Constant().batch(0), due=(0,))
    assert state.params["point"].is_deleted()


def test_resuming_equals_never_stopping(tmp_path):
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "parts", dataclasses.replace(QUICK, steps=4))
    resumed = fit(tmp_path / "parts")
    assert state_sha256(flatten(resumed.result.state)) == state_sha256(flatten(whole.result.state))
    rows = [
        [json.loads(line) for line in (tmp_path / d / "metrics.jsonl").read_text().splitlines()]
        for d in ("whole", "parts")
    ]
    timings = ("seconds", "steps_per_second", "examples_per_second")
    plain = [[{k: v for k, v in row.items() if k not in timings} for row in part] for part in rows]
    assert plain[0] == plain[1] and [row["step"] for row in rows[0]] == [2, 4, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_call_goes_on(tmp_path, number):
    training = dataclasses.replace(QUICK, steps=4000, checkpoint_every=4000, log_every=1)

    class Signalling(Constant):
        def iterate(self, start):
            for step, batch in enumerate(super().iterate(start), start):
                if step == 5 and start == 0:
                    os.kill(os.getpid(), number)
                yield batch

    with pytest.raises(InterruptedRun) as stopped:
        loop.fit(Point(), Signalling(), training, SGD, directory=tmp_path, mesh=MESH, quiet=True)
    assert stopped.value.signal == number and "same command" in str(stopped.value)
    saved = Checkpoints(tmp_path / "checkpoints").newest_good()
    assert 0 < saved < 4000
    short = dataclasses.replace(training, steps=saved + 3)
    resumed = loop.fit(Point(), Signalling(), short, SGD, directory=tmp_path, mesh=MESH, quiet=True)
    whole = loop.fit(Point(), Constant(), short, SGD, mesh=MESH, quiet=True)
    assert state_sha256(flatten(resumed.state)) == state_sha256(flatten(whole.state))
    assert signal.getsignal(number) != stopped  # handlers are put back
    assert threading.active_count() < 50


def _damage(kind, file, older):
    if kind == "truncate":
        os.truncate(file, file.stat().st_size // 2)
    elif kind == "empty":
        os.truncate(file, 0)
    elif kind == "delete":
        file.unlink()
    elif kind == "append":
        with open(file, "ab") as stream:
            stream.write(b"16 bytes of junk")
    elif kind == "flip":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif kind == "swap":
        shutil.copy(older, file)


@pytest.mark.parametrize("kind", ["truncate", "empty", "delete", "append", "flip", "swap"])
def test_every_damage_to_a_checkpoint_is_found_and_the_one_before_is_used(tmp_path, kind):
    state = play(directory=tmp_path / "run").state
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(int(p.name) for p in folder.iterdir()) == [3, 6]
    names = [p.relative_to(folder / "6") for p in sorted((folder / "6").rglob("*")) if p.is_file() and p.stat().st_size]
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    tried = 0
    for number, name in enumerate(names):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(folder, copy)
        older = copy / "3" / name
        if kind == "swap" and (not older.exists() or older.read_bytes() == (copy / "6" / name).read_bytes()):
            continue
        _damage(kind, copy / "6" / name, older)
        tried += 1
        assert verify(copy / "6") is not None, name
        with pytest.warns(UserWarning, match="not usable"):
            restored = Checkpoints(copy).restore(abstract)
        assert int(restored.step) == 3
        assert (copy / "6.corrupt").is_dir()
    assert tried >= 2


@pytest.mark.parametrize("kind", ["damaged", "put aside by hand", "one unfinished, one damaged"])
def test_without_any_good_checkpoint_nothing_is_trained_until_a_person_acts(tmp_path, kind):
    play(directory=tmp_path)
    folder = tmp_path / "checkpoints"
    for manifest in folder.rglob("manifest.json"):
        manifest.write_text("{")
    if kind == "put aside by hand":
        for step in ("3", "6"):
            (folder / step).rename(folder / f"{step}.corrupt")
    elif kind == "one unfinished, one damaged":
        (folder / "6" / "manifest.json").unlink()
    before, words = sorted(tmp_path.rglob("*")), set()
    for _ in range(3):
        with (
            pytest.raises(CheckpointError, match="no good checkpoint") as refused,
            warnings.catch_warnings(record=True),
        ):
            play(directory=tmp_path)
        words.add(str(refused.value))
    reason = "it was put aside as 3.corrupt" if "hand" in kind else "manifest.json cannot be read"
    assert len(words) == 1 and f"step 3: {reason}" in words.pop() and sorted(tmp_path.rglob("*")) == before
    shutil.rmtree(folder)
    assert int(play(directory=tmp_path).state.step) == 6


def test_a_first_save_that_was_cut_off_was_no_save(tmp_path):
    whole = play(directory=tmp_path / "whole").state
    play(training=dataclasses.replace(QUICK, steps=2), directory=tmp_path / "cut")
    (tmp_path / "cut" / "checkpoints" / "2" / "manifest.json").unlink()
    with pytest.warns(UserWarning) as told:
        begun = play(directory=tmp_path / "cut").state
    assert len(told) == 1 and "it has no manifest (the run was stopped while saving)" in str(told[0].message)
    assert state_sha256(flatten(begun)) == state_sha256(flatten(whole))
    with warnings.catch_warnings(action="error"):
        play(directory=tmp_path / "cut")


def test_a_state_saved_on_eight_devices_is_the_same_on_any_number(tmp_path):
    run = fit(tmp_path)  # on all eight
    saved = state_sha256(flatten(run.result.state))
    for count in (1, 2, 4):
        mesh = shard.data_mesh(jax.devices()[:count])
        abstract = jax.tree.map(
            lambda x, where=shard.replicated(mesh): jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            run.result.state,
        )
        restored = Checkpoints(tmp_path / "checkpoints").restore(abstract)
        assert len(restored.step.devices()) == count and state_sha256(flatten(restored)) == saved


def test_another_configuration_is_refused_and_touches_nothing(tmp_path):
    fit(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    for change in ({"training": dataclasses.replace(QUICK, seed=1)}, {"images": IMAGES[:32]}, {"flip": True}):
        with pytest.raises(ConfigError, match="holds a run with"):
            fit(tmp_path, **change)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_so_many_of_the_newest_checkpoints_are_kept_as_is_asked(tmp_path, keep):
    for steps in (4, 6):
        play(training=dataclasses.replace(QUICK, steps=steps, checkpoint_every=1, keep=keep), directory=tmp_path)
        assert Checkpoints(tmp_path / "checkpoints").steps() == list(range(steps - keep + 1, steps + 1))


def test_a_directory_is_used_by_one_run_at_a_time(tmp_path):
    first, errors = threading.Event(), []

    def intrude():
        first.wait(60)
        try:
            fit(tmp_path)
        except ConfigError as error:
            errors.append(str(error))

    intruder = threading.Thread(target=intrude)
    intruder.start()
    original = data.Batches.iterate

    def watched(self, start):
        first.set()
        if threading.current_thread() is threading.main_thread():
            intruder.join(60)
        yield from original(self, start)

    data.Batches.iterate = watched
    try:
        fit(tmp_path)
    finally:
        data.Batches.iterate = original
    assert len(errors) == 1 and f"process {os.getpid()}" in errors[0]


def test_a_run_comes_back_from_its_directory(tmp_path):
    run = fit(tmp_path)
    back = gen_jax.load(tmp_path)
    np.testing.assert_array_equal(run.sample(0, 5), back.sample(0, 5))
    assert back.sample(0, 5).dtype == np.uint8 and back.step == 6
    chex.assert_trees_all_equal(gen_jax.load(tmp_path, raw=True).params, run.result.state.params)
    np.testing.assert_array_equal(back.sample(0, 9, batch_size=9)[:4], back.sample(0, 4))
    np.testing.assert_array_equal(back.sample(0, 9, batch_size=2), back.sample(0, 9))
    with pytest.raises(ConfigError, match="holds no run"):
        gen_jax.load(tmp_path / "nothing")
    assert (tmp_path / "samples" / "00000006.png").exists()


def test_loading_writes_nothing(tmp_path):
    fit(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    gen_jax.load(tmp_path).sample(0, 2)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("toggle"),
    [{"sample_every": 2}, {"log_every": 1}, {"checkpoint_every": 1}],
)
def test_what_is_watched_does_not_change_what_is_learned(tmp_path, toggle):
    plain = fit(tmp_path / "a")
    watched = fit(tmp_path / "b", dataclasses.replace(QUICK, **toggle))
    assert state_sha256(flatten(plain.result.state)) == state_sha256(flatten(watched.result.state))
