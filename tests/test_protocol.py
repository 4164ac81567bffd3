"""The laws that every model obeys."""

import functools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax.data import prepare
from gen_jax.fields import PIXELS, REAL
from gen_jax.protocol import Model, State, due, players, turns_taken
from gen_jax.train import shard
from gen_jax.train.checkpoint import Checkpoints, flatten, state_sha256
from gen_jax.train.ema import Average
from gen_jax.train.optimizers import Adam, learning_rate
from gen_jax.train.state import not_finite
from gen_jax.train.step import Step, init_state, make_step
from tests.zoo import DEEP, ZOO

BATCH = 16
EVERY = {**ZOO, **DEEP}
AVERAGE = Average(half_life=100.0)


@dataclass(frozen=True)
class Game:
    """A model of the zoo with what it takes to train it; compiled once for all laws."""

    name: str
    model: Model
    optimizers: dict
    step: Step
    batch: dict
    fields: dict

    def state(self) -> State:
        return _initial(self)


def raw_batch(fields, seed=0):
    """Examples of every kind, stored; images have structure to learn."""
    rng = np.random.default_rng(seed)
    return {name: _raw(rng, field) for name, field in fields.items()}


def _raw(rng, field):
    shape = (BATCH, *field.shape)
    if field.kind is PIXELS:
        height, width = (max(1, side // 4) for side in field.shape[-3:-1])
        low = rng.integers(0, 256, (*shape[:-3], height, width, shape[-1]))
        return low.repeat(4, axis=-3).repeat(4, axis=-2).astype(np.uint8)
    if field.kind is REAL:
        return rng.normal(size=shape).astype(np.float32)
    return rng.integers(0, field.size or 5, shape).astype(np.int32)


def told(g, n):
    """What samples are told: fields of the batch, by name."""
    return {name: prepare(g.batch)[name][:n] for name in g.model.given}


@functools.cache
def game(name):
    entry = EVERY[name]
    model = entry.configuration.build(entry.fields)
    optimizers = {player: Adam(learning_rate=1e-3, b1=0.5).build(100) for player in players(model.turns)}
    step = make_step(model.turns, optimizers, AVERAGE, prepare=prepare)
    return Game(name, model, optimizers, step, raw_batch(entry.fields), entry.fields)


@functools.cache
def _init_function(name):
    g = game(name)

    def init(key, batch):
        params, buffers = g.model.init(key, batch)
        return EVERY[name].start(params), buffers

    def make(key, batch):
        return init_state(init, g.model.turns, g.optimizers, key, prepare(batch))

    return jax.jit(make)


def _initial(g):
    state = _init_function(g.name)(jax.random.key(0), g.batch)
    return jax.device_put(state, jax.devices()[0])  # committed, as restored states are: one program serves both


def _names(slow):
    """Every model, each in a group of its own: its laws run in one worker, which has compiled its step already."""
    return pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=[pytest.mark.xdist_group(n)] + [pytest.mark.slow] * (n in slow)) for n in EVERY],
    )


# In the fast suite everyone begins and has losses, and one game of each sort obeys all laws: of no parameters, of one
# player, of statistics in buffers, of a player who rests, against a critic, of noise, with a learned schedule, with a
# teacher. The long proofs have them all.
SORTS = ("gmm", "hmm", "vae", "vqvae_codec", "vqvae", "gan", "ddpm", "vdm", "consistency")
# Networks that grow, have styles or augment take ten seconds each to compile.
# Quantisers are tried by themselves, and models of codes are, but for their parts, those of `vqvae`.
CODES = {"fsq_codec", "lfq_codec", "gradient_codec", "two_level_codec", "vqvae2", "vqgan_codec", "vqgan", "vae_gan"}
everyone = _names({*DEEP, *CODES, "sngan", "progan", "stylegan", "stylegan2", "stylegan3"})
every_game = _names(set(EVERY) - set(SORTS))
# Operation by operation all others take a minute together.
eagerly = _names(set(EVERY) - {"gmm", "vae", "vqvae_codec", "dcgan"})


@everyone
def test_init_is_deterministic_and_splits_every_player(name):
    g = game(name)
    a, b = g.state(), g.state()
    chex.assert_trees_all_equal(a, b)
    assert set(a.params) == set(a.buffers) >= set(players(g.model.turns))
    other = _init_function(name)(jax.random.key(1), g.batch)
    assert state_sha256(flatten(other.params) | flatten(other.buffers)) != state_sha256(
        flatten(a.params) | flatten(a.buffers)
    )


@functools.cache
def compiled_losses(name):
    g = game(name)
    state, batch = g.state(), prepare(g.batch)
    calls = [functools.partial(turn.loss, step=state.step, ema=state.ema) for turn in g.model.turns]
    return [jax.jit(call)(state.params, state.buffers, batch, jax.random.key(1)) for call in calls]


@everyone
def test_losses_are_finite_float32_scalars(name):
    for loss, aux in compiled_losses(name):
        chex.assert_shape(loss, ())
        chex.assert_type(loss, jnp.float32)
        chex.assert_tree_all_finite((loss, dict(aux.metrics), aux.buffers))


@eagerly
def test_jit_equals_eager(name):
    g = game(name)
    state, batch = g.state(), prepare(g.batch)
    for turn, (loss, _) in zip(g.model.turns, compiled_losses(name), strict=True):
        eager, _ = turn.loss(state.params, state.buffers, batch, jax.random.key(1), step=state.step, ema=state.ema)
        np.testing.assert_allclose(loss, eager, rtol=2e-4, atol=1e-5)


@every_game
def test_a_turn_moves_only_its_player(name):
    g = game(name)
    before = g.state()
    for index, turn in enumerate(g.model.turns):
        after, _ = g.step.one(g.state(), g.batch, due=(index,))
        for player in before.params:
            old = (before.params[player], before.buffers[player], before.opt.get(player))
            new = (after.params[player], after.buffers[player], after.opt.get(player))
            if player == turn.player:
                assert state_sha256(flatten(old)) != state_sha256(flatten(new)), f"{player} did not move"
            else:
                chex.assert_trees_all_equal(old, new)
                averages = (before.ema["params"][player], before.ema["buffers"][player])
                chex.assert_trees_all_equal(averages, (after.ema["params"][player], after.ema["buffers"][player]))


@every_game
def test_a_turn_taken_again_and_again_descends_its_loss(name):
    g = game(name)
    for index, turn in enumerate(g.model.turns):
        state, losses = g.state(), []
        for _ in range(40):
            state, report = g.step.one(state, g.batch, due=(index,))
            losses.append(float(report.vital[f"{turn.player}/{turn.loss.__name__}"]))
        assert np.isfinite(losses).all()
        assert np.mean(losses[-8:]) < np.mean(losses[:8]), turn


@every_game
def test_one_program_for_each_set_of_due_turns(name):
    g = game(name)
    state, everything = g.state(), tuple(range(len(g.model.turns)))
    sets = {everything, everything[:1]}
    for some in (*sets, *sets):
        state, _ = g.step.one(state, g.batch, due=some)
    before = g.step.one.whole._cache_size()
    for some in (*sets, *sets):
        state, _ = g.step.one(state, g.batch, due=some)
    assert g.step.one.whole._cache_size() == before


@every_game
def test_a_restored_state_continues_bit_for_bit(name, tmp_path):
    g = game(name)
    everything = tuple(range(len(g.model.turns)))
    state, _ = g.step.one(g.state(), g.batch, due=everything)
    assert not_finite(state) is None  # or it would never be saved
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(state, {})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    restored = Checkpoints(tmp_path / "checkpoints").restore(abstract)
    assert state_sha256(flatten(restored)) == state_sha256(flatten(state))
    continued, resumed = (g.step.one(s, g.batch, due=everything)[0] for s in (state, restored))
    assert state_sha256(flatten(resumed)) == state_sha256(flatten(continued))


@every_game
@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 8])
def test_one_device_equals_many(name, count):
    g = game(name)
    everything = tuple(range(len(g.model.turns)))
    alone, expected = g.step.one(g.state(), g.batch, due=everything)
    mesh = shard.data_mesh(jax.devices()[:count])
    state = jax.device_put(g.state(), shard.replicated(mesh))
    together, report = g.step.one(state, shard.place(g.batch, mesh), due=everything)
    for figure in expected.vital:
        np.testing.assert_allclose(
            report.vital[figure], expected.vital[figure], rtol=1e-4 if "norm" in figure else 1e-5
        )
    # Adam's first step is the sign of the gradient: where that is rounding noise, so is the step.
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(together.params)):
        assert np.mean(np.abs(np.asarray(a) - np.asarray(b)) > 1e-5) < 0.02


@every_game
def test_samples_are_of_their_field_and_independent_of_their_batch_mates(name):
    g = game(name)
    state = g.state()
    sample = jax.jit(g.model.sample, static_argnums=3)
    eight, four = (np.asarray(sample(state.params, state.buffers, jax.random.key(2), n, **told(g, n))) for n in (8, 4))
    field = g.fields[g.model.makes]
    assert eight.shape == (8, *field.shape) and eight.dtype == field.kind.seen
    assert np.isfinite(eight).all() and np.abs(eight).max() <= field.kind.limit + 1e-6
    if field.size:
        assert eight.min() >= 0 and eight.max() < field.size
    np.testing.assert_allclose(eight[:4], four, atol=2e-4)
    assert g.model.network_evaluations >= 1


@every_game
def test_averages_equal_the_closed_form(name):
    g = game(name)
    everything = tuple(range(len(g.model.turns)))
    state = g.state()
    expected = jax.tree.map(np.asarray, {"params": state.params, "buffers": state.buffers})
    for step in range(3):
        state, _ = g.step.one(state, g.batch, due=everything)
        decay = 0.5 ** (BATCH / min(AVERAGE.half_life, AVERAGE.ramp * BATCH * (step + 1)))
        now = {"params": state.params, "buffers": state.buffers}
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * np.asarray(b), expected, now)
    chex.assert_trees_all_close(state.ema, expected, rtol=1e-4, atol=1e-5)


@every_game
def test_rates_count_the_turns_of_a_player(name):
    """Every player's schedule stands where its turns say, and ends where they end."""
    g = game(name)
    state = g.state()
    for step in (0, 1, 0):  # the last of them is one in which all players move
        state, report = g.step.one(state, g.batch, due=due(g.model.turns, step))
    for player in players(g.model.turns):
        taken = turns_taken(g.model.turns, player, 2) + turns_taken(g.model.turns, player, 1)
        assert int(optax.tree.get(state.opt[player], "turns")) == taken
        moved = taken > 0 and jax.tree.leaves(state.params[player])
        assert bool(moved) == (f"{player}/learning_rate" in report.metrics)
        whole = turns_taken(g.model.turns, player, 1000)
        for recipe in (Adam(decay="cosine"), Adam(decay="linear")):
            np.testing.assert_allclose(learning_rate(recipe, whole, whole, 0.0), 0.0, atol=1e-9)


@every_game
def test_log_prob_is_that_of_each_example_alone(name):
    g = game(name)
    if not hasattr(g.model, "log_prob"):
        assert not hasattr(g.model, "log_prob_kind")
        return
    state, batch = g.state(), jax.tree.map(jnp.asarray, prepare(g.batch))
    log_prob = jax.jit(g.model.log_prob)
    every = log_prob(state.params, state.buffers, jax.random.key(3), batch)
    chex.assert_shape(every, (BATCH,))
    chex.assert_tree_all_finite(every)
    # The same first half with another second half: each example's figure is its own.
    other = jax.tree.map(lambda x: x.at[BATCH // 2 :].set(x[BATCH // 2 :][::-1]), batch)
    again = log_prob(state.params, state.buffers, jax.random.key(3), other)
    np.testing.assert_allclose(every[: BATCH // 2], again[: BATCH // 2], rtol=1e-5)
