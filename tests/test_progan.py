"""ProGAN: published sizes, what is faded in, and how a run grows from the one before."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.progan import PRESETS, stages
from gen_jax import Adam, From, Stage, Training, fit_stages
from gen_jax.fields import images
from gen_jax.losses.adversarial import drift
from gen_jax.models.progan import REFERENCE, ProGANConfig, at_level, growth
from gen_jax.nn.functional import parameter_count
from gen_jax.run import load

TINY = ProGANConfig(latent=4, widths=(6, 5, 4), levels=3, fade_steps=10)


def test_published_parameter_counts():
    model = REFERENCE.build(images((1024, 1024, 3)))
    generator, critic = parameter_count(model.generator.init), parameter_count(model.critics[0].network.init)
    others = REFERENCE.widths[:-1]
    assert (generator, critic) == (23_079_115, 23_087_249)
    # Those of the last level's images alone: 3 channels and a bias each, out of a level or into it.
    assert generator - sum(3 * width + 3 for width in others) == 23_071_507
    assert critic - sum(3 * width + width for width in others) == 23_077_137


@functools.cache
def game(levels=3, side=8):
    model = at_level(TINY, levels, 10).build(images((side, side, 1)))
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    return model, params, buffers


def with_fade(buffers, level, alpha):
    return {name: {**own, "fade": {**own["fade"], str(level): jnp.float32(alpha)}} for name, own in buffers.items()}


def smaller(params):
    """A run of one level less: what lies there under the same names."""
    generator, critic = params["generator"], params["critic"]
    keys = [str(level) for level in range(2)]
    cut = {"images": {k: generator["images"][k] for k in keys}, "blocks": {"0": generator["blocks"]["0"]}}
    less = {"images": {k: critic["images"][k] for k in keys}, "blocks": {"0": critic["blocks"]["0"]}}
    return {"generator": {**generator, **cut}, "critic": {**critic, **less}}


def doubled(x):
    return np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)


def halved(x):
    n, h, w, c = x.shape
    return np.asarray(x).reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def test_before_the_fade_both_networks_are_those_that_they_grew_from():
    large, params, buffers = game()
    small, _, before = game(2, 4)
    old, before, new = smaller(params), with_fade(before, 1, 1.0), with_fade(buffers, 2, 0.0)
    z, x = jax.random.normal(jax.random.key(1), (4, 4)), jax.random.normal(jax.random.key(2), (4, 8, 8, 1))
    expected = jax.jit(small.generator.apply)(old["generator"], before["generator"], z)[0]
    found = jax.jit(large.generator.apply)(params["generator"], new["generator"], z)[0]
    np.testing.assert_allclose(found, doubled(expected), rtol=1e-5, atol=1e-6)
    judge, critic = (jax.jit(model.critics[0].network.apply) for model in (small, large))
    np.testing.assert_allclose(
        critic(params["critic"], new["critic"], x)[0],
        judge(old["critic"], before["critic"], jnp.asarray(halved(x)))[0],
        rtol=1e-4,
        atol=1e-5,
    )
    # And after it nothing is left of the way by the smaller image.
    done = with_fade(buffers, 2, 1.0)
    changed = jax.tree.map(lambda a: a, params)
    for player in changed:
        changed[player]["images"]["1"] = jax.tree.map(lambda a: a + 1.0, params[player]["images"]["1"])
    for player, network, inputs in (("generator", jax.jit(large.generator.apply), z), ("critic", critic, x)):
        one, two = (network(p[player], done[player], inputs)[0] for p in (params, changed))
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("step", [0, 3, 10, 25])
def test_data_and_networks_are_faded_together(step):
    _, _, buffers = game()
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    alpha = min(1.0, step / 10)
    seen, batch = growth((8, 8), 3, 10)(buffers, {"image": x, "label": 1}, step)
    np.testing.assert_allclose(batch["image"], (1 - alpha) * doubled(halved(x)) + alpha * x, rtol=1e-5, atol=1e-6)
    assert batch["label"] == 1
    for own in seen.values():
        assert [float(own["fade"][str(level)]) for level in range(3)] == pytest.approx([1.0, 0.0, alpha])


def test_turns_leave_the_fade_with_their_player():
    model, params, buffers = game()
    batch = {"image": jnp.zeros((4, 8, 8, 1))}
    for turn in model.turns:
        _, aux = jax.jit(turn.loss)(params, buffers, batch, jax.random.key(0), step=4, ema=None)
        assert set(aux.buffers) == {turn.player}
        np.testing.assert_allclose(aux.buffers[turn.player]["fade"]["2"], 0.4)


def test_drift():
    x = jnp.array([[1.0], [3.0]])
    np.testing.assert_allclose(drift(lambda x: 2 * x[:, 0], x, weight=0.5), 0.5 * (4 + 36) / 2)


def test_levels_of_an_experiment():
    found = stages(replace(PRESETS["small"], place=replace(PRESETS["small"].place, data="fashion_mnist")))
    assert [(s.name, s.image_size, s.configuration.levels) for s in found] == [
        ("7", 7, 1),
        ("14", 14, 2),
        ("28", 28, 3),
    ]
    assert [s.configuration.fade_steps > 0 for s in found] == [False, True, True]
    assert not found[0].keeps and found[1].keeps == {"generator": From(raw=True), "critic": From(raw=True)}


@pytest.mark.slow
def test_a_run_grows_from_the_one_before(tmp_path):
    """What a stage has learned is where the next one begins, layer by layer."""
    adam, training = Adam(learning_rate=1e-3, b1=0.0, b2=0.99), Training(steps=2, batch_size=16)
    keeps = {player: From(raw=True) for player in ("generator", "critic")}
    first = Stage("4", at_level(TINY, 2, 1), training, adam, image_size=4)
    frozen = Stage("8", at_level(TINY, 3, 10), training, Adam(learning_rate=0.0), keeps, image_size=8)
    run = fit_stages([first, frozen], "digits", directory=tmp_path, quiet=True)
    before, after = load(tmp_path / "4", raw=True), load(tmp_path / "8", raw=True)
    for player in keeps:
        flat = dict(jax.tree_util.tree_leaves_with_path(after.params[player]))
        for path, leaf in jax.tree_util.tree_leaves_with_path(before.params[player]):
            np.testing.assert_array_equal(flat[path], leaf)
    assert run.sample(0, 2).shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    ("make", "message"), [(lambda: ProGANConfig(widths=(4,), levels=2), "levels: expected at most the 1")]
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
