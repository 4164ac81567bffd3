"""Runs that begin with players of earlier ones, sequences of them, and what is left of a budget."""

import dataclasses
import json
import signal
import threading
import time

import jax
import numpy as np
import pytest

import gen_jax
from gen_jax import Adam, ConfigError, From, RMSProp, Stage, Training
from gen_jax.models import (
    DDPMConfig,
    DistillationConfig,
    EDMConfig,
    HMMConfig,
    LatentConfig,
    VAEConfig,
    VQCodecConfig,
    VQVAEConfig,
)
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Aux, Turn, due, turns_taken
from gen_jax.train.checkpoint import Checkpoints, flatten, state_sha256
from gen_jax.train.optimizers import learning_rate
from gen_jax.train.signals import InterruptedRun

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1)).astype(np.uint8)
QUICK = Training(steps=4, batch_size=8, log_every=1, checkpoint_every=2)
VAE = VAEConfig(latent=2, widths=(4,), dense=(8,))
NET = Denoiser(channels=4, multipliers=(1,), blocks=1)
CODEC = VQCodecConfig(channels=8, residual_channels=4, residual_layers=1, codes=6, code_width=3)
PRIOR = VQVAEConfig(CODEC, prior_width=8, prior_layers=1, prior_heads=2)


def fit(configuration, directory=None, **options):
    defaults = {"training": QUICK, "optimizers": Adam(learning_rate=1e-3), "quiet": True}
    return gen_jax.fit(configuration, IMAGES, directory=directory, **{**defaults, **options})


def digest(*trees):
    return state_sha256(flatten(trees))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return fit(VAE, tmp_path_factory.mktemp("earlier") / "vae")


def first_state(directory):
    """Parameters of a run that has taken no step worth the name."""
    return fit(VAE, directory, begin={"vae": directory}, training=dataclasses.replace(QUICK, steps=1))


@pytest.mark.parametrize("way", ["run", "directory", "named", "weights"])
def test_a_run_begins_where_another_ended(earlier, way):
    begin = {
        "run": earlier,
        "directory": str(earlier.directory),
        "named": From("vae", run=earlier.directory),
        "weights": (earlier.params["vae"], earlier.buffers["vae"]),
    }[way]
    still = fit(VAE, begin={"vae": begin}, optimizers=Adam(learning_rate=0.0))  # takes steps of no length
    assert digest(still.params) == digest(earlier.params)
    recorded = still.settings["begin"]["vae"]["sha256"]
    assert recorded == digest_of_player(earlier)


def digest_of_player(run):
    return state_sha256(flatten({"params": run.params["vae"], "buffers": run.buffers["vae"]}))


def test_the_last_weights_or_their_average(earlier):
    raw = fit(VAE, begin={"vae": From(raw=True, run=earlier)}, optimizers=Adam(learning_rate=0.0))
    assert digest(raw.params) == digest(earlier.result.state.params) != digest(earlier.params)
    from_disk = fit(VAE, begin={"vae": From.parse(f"{earlier.directory}:vae:raw")}, optimizers=Adam(learning_rate=0.0))
    assert digest(from_disk.params) == digest(raw.params)


def test_what_is_new_keeps_its_beginning_and_what_does_not_fit_is_named(earlier):
    encoder = {"encoder": earlier.params["vae"]["encoder"]}
    partly = fit(VAE, begin={"vae": (encoder, {})}, optimizers=Adam(learning_rate=0.0))
    fresh = fit(VAE, optimizers=Adam(learning_rate=0.0))
    assert digest(partly.params["vae"]["encoder"]) == digest(earlier.params["vae"]["encoder"])
    assert digest(partly.params["vae"]["decoder"]) == digest(fresh.params["vae"]["decoder"])
    for begin, message in (
        (
            {"vae": ({"decoderr": encoder["encoder"]}, {})},
            "vae.decoderr is in what it should begin with and has no place",
        ),
        ({"other": earlier}, "players of this model, vae, to begin, got 'other'"),
        ({"vae": From("critic", run=earlier)}, r"expected a player of .*, which has vae, got 'critic'"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(VAE, begin=begin)
    with pytest.raises(ConfigError, match=r"vae\.\S+ is of shape .* here and of shape .* in what it should begin with"):
        fit(dataclasses.replace(VAE, latent=3), begin={"vae": earlier})


def test_another_beginning_is_another_run(earlier, tmp_path):
    fit(VAE, tmp_path / "run", begin={"vae": earlier})
    fit(VAE, tmp_path / "run", begin={"vae": str(earlier.directory)})  # the same weights from elsewhere
    with pytest.raises(ConfigError, match=r"begin\.vae"):
        fit(VAE, tmp_path / "run")


@pytest.mark.parametrize("configuration", [PRIOR, DistillationConfig(DDPMConfig(NET, timesteps=8, sampling_steps=4))])
def test_players_who_rest_must_have_been_trained(configuration):
    with pytest.raises(ConfigError, match="never moves in this game"):
        fit(configuration)


def stages():
    return (
        Stage("codec", CODEC, QUICK, Adam(learning_rate=1e-3), share=0.75),
        Stage("prior", PRIOR, dataclasses.replace(QUICK, steps=3), keeps={"codec": From()}, share=0.25),
    )


def test_a_codec_and_its_prior_train_one_after_the_other(tmp_path):
    run = gen_jax.fit_stages(stages(), IMAGES, directory=tmp_path, quiet=True)
    codec = gen_jax.load(tmp_path / "codec")
    assert digest(codec.params["codec"], codec.buffers["codec"]) == digest(run.params["codec"], run.buffers["codec"])
    assert set(run.result.state.opt) == {"prior"}  # who never moves has no optimizer
    began = time.monotonic()
    again = gen_jax.fit_stages(stages(), IMAGES, directory=tmp_path, quiet=True)
    assert digest(again.params) == digest(run.params) and time.monotonic() - began < 60
    whole = gen_jax.load(tmp_path)  # the last of the stages
    assert whole.step == 3 and digest(whole.params) == digest(run.params)


@pytest.mark.slow
@pytest.mark.parametrize("when", [2, 6])
def test_a_sequence_that_was_stopped_goes_on_by_the_same_call(tmp_path, when):
    whole = gen_jax.fit_stages(stages(), IMAGES, directory=tmp_path / "whole", quiet=True)
    steps = {"codec": min(when, 4), "prior": when - 4}
    for stage in stages():  # as far as the interrupted call came
        if steps[stage.name] > 0:
            short = dataclasses.replace(stage, training=dataclasses.replace(stage.training, steps=steps[stage.name]))
            begin = {"codec": str(tmp_path / "stopped" / "codec")} if stage.keeps else {}
            gen_jax.fit(
                short.configuration, IMAGES, training=short.training, optimizers=short.optimizers, begin=begin,
                directory=tmp_path / "stopped" / stage.name, quiet=True,
            )  # fmt: skip
    rest = gen_jax.fit_stages(stages(), IMAGES, directory=tmp_path / "stopped", quiet=True)
    assert digest(rest.params, rest.buffers) == digest(whole.params, whole.buffers)


@pytest.mark.slow
def test_a_budget_is_dealt_out_by_shares(tmp_path):
    endless = [dataclasses.replace(s, training=dataclasses.replace(s.training, steps=10**9)) for s in stages()]
    gen_jax.fit_stages(endless, IMAGES, directory=tmp_path, seconds=0.4, quiet=True)
    settings = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("codec", "prior")]
    np.testing.assert_allclose([s["training"]["seconds"] for s in settings], [0.3, 0.1])


def test_sequences_that_make_no_sense():
    first, second = stages()
    for wrong, message in (
        ((), "one stage or more"),
        ((first, first), "a name of its own"),
        ((second,), "this is the first"),
        ((dataclasses.replace(first, share=0.0),), "shares above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            gen_jax.fit_stages(wrong, IMAGES, quiet=True)


@pytest.mark.parametrize(
    ("codec", "prior", "field"),
    [
        pytest.param(
            VAE, EDMConfig(dataclasses.replace(NET, network="mlp"), sampling_steps=2), (2,), marks=pytest.mark.slow
        ),
        (CODEC, HMMConfig(states=3, emission_concentration=1.1), (4,)),
    ],
    ids=["EDM of means", "HMM of codes"],
)
def test_any_model_is_a_prior_of_any_codec(codec, prior, field, tmp_path):
    trained = fit(codec, tmp_path / "codec")
    run = fit(LatentConfig(codec, prior), tmp_path / "latent", begin={"codec": trained})
    assert digest(run.params["codec"]) == digest(next(iter(trained.params.values())))
    assert "codec" not in run.result.state.opt
    samples = run.sample(0, 5)
    assert samples.shape == (5, 8, 8, 1) and samples.dtype == np.uint8
    assert run.model.codec.latent_field.shape == field
    np.testing.assert_array_equal(gen_jax.load(tmp_path / "latent").sample(0, 5), samples)


def test_a_codec_is_asked_for_where_there_is_none():
    with pytest.raises(ConfigError, match="expected a codec, with an encoder and a decoder, got EDMConfig"):
        fit(LatentConfig(EDMConfig(NET), EDMConfig(NET)))
    with pytest.raises(gen_jax.DataError, match="conditional"):
        fit(dataclasses.replace(VAE, conditional=True))


# Schedules


@pytest.mark.parametrize("every", [1, 3, 16])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (5, None), (0, 7), (4, 11), (6, 6)])
def test_turns_are_counted_as_they_are_taken(every, start, stop):
    turns = (Turn("a", lambda: 0, every, start, stop), Turn("b", lambda: 0), Turn("a", lambda: 0, 5))
    for steps in (0, 1, 6, 20, 33):
        taken = sum(turns[i].player == "a" for step in range(steps) for i in due(turns, step))
        assert turns_taken(turns, "a", steps) == taken


@pytest.mark.parametrize("recipe", [Adam, RMSProp])
@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("decay", ["constant", "cosine", "linear", "steps"])
def test_rates_follow_their_closed_form(recipe, warmup, decay):
    milestones = {"milestones": (0.25, 0.5), "factor": 0.1} if decay == "steps" else {}
    made = recipe(learning_rate=0.3, warmup_steps=warmup, decay=decay, **milestones)
    for count in range(20):
        s = max(count - warmup, 0) / (20 - warmup)
        shape = {
            "constant": 1.0,
            "cosine": 0.5 * (1 + np.cos(np.pi * s)),
            "linear": 1 - s,
            "steps": 0.1 ** ((s >= 0.25) + (s >= 0.5)),
        }[decay]
        expected = 0.3 * min(1.0, count / warmup if warmup else 1.0) * shape
        np.testing.assert_allclose(learning_rate(made, count, 20, 0.0), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        learning_rate(made, 10**6, 0, 0.5), learning_rate(made, warmup + 10, warmup + 20, 0), rtol=1e-6
    )


def test_rmsprop_is_torch_s_and_weights_are_cut():
    """sqrt(v) + eps, as in the authors' code, which runs in PyTorch: v = a v + (1 - a) g^2."""
    made = RMSProp(learning_rate=0.1, smoothing=0.9, eps=1e-3, clip_weights=0.25).build(10)
    params, gradients, v = {"w": np.array([0.2, -0.2, 0.0])}, np.array([1.0, -2.0, 0.5]), np.zeros(3)
    state, expected = made.init(params), params["w"]
    for _ in range(4):
        updates, state = made.update({"w": gradients}, state, params)
        params = {"w": params["w"] + np.asarray(updates["w"])}
        v = 0.9 * v + 0.1 * gradients**2
        expected = np.clip(expected - 0.1 * gradients / (np.sqrt(v) + 1e-3), -0.25, 0.25)
        np.testing.assert_allclose(params["w"], expected, rtol=1e-5)
    assert np.abs(params["w"]).max() <= 0.25 + 1e-7


@dataclasses.dataclass(frozen=True)
class Players:
    """One moves twice a step now and then, one seldom, and one late."""

    makes: str = "image"
    given: tuple = ()
    network_evaluations: int = 1

    @property
    def turns(self):
        descend = self.descend
        return (
            Turn("often", descend("often")), Turn("often", descend("often"), every=5),
            Turn("seldom", descend("seldom"), every=7), Turn("late", descend("late"), start=15),
        )  # fmt: skip

    def descend(self, player):
        def loss(params, buffers, batch, key, *, step, ema):
            return params[player].sum(), Aux({})

        return loss

    def init(self, key, batch):
        names = ("often", "seldom", "late")
        return {name: np.ones(1, np.float32) for name in names}, {name: {} for name in names}

    def sample(self, params, buffers, key, n):
        return jax.numpy.zeros((n, 8, 8, 1))


@dataclasses.dataclass(frozen=True)
class PlayersConfig:
    def build(self, fields):
        return Players()


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_decays_end_with_the_run_whoever_takes_the_turns(decay):
    recipe = Adam(learning_rate=1.0, decay=decay)
    run = gen_jax.fit(
        PlayersConfig(), IMAGES, training=dataclasses.replace(QUICK, steps=40), optimizers=recipe, quiet=True
    )
    for player in ("often", "seldom", "late"):
        rates = [row[f"{player}/learning_rate"] for row in run.result.rows if f"{player}/learning_rate" in row]
        turns = turns_taken(Players().turns, player, 40)
        s = (turns - 1) / turns  # of the last turn; the one after it would have the rate 0
        np.testing.assert_allclose(rates[-1], 1 - s if decay == "linear" else 0.5 * (1 + np.cos(np.pi * s)), atol=1e-6)
        assert rates[0] > 0.95 and rates == sorted(rates, reverse=True)


def test_a_clock_ends_decays_too(tmp_path):
    training = Training(steps=10**9, seconds=0.5, batch_size=8, log_every=1, checkpoint_every=10**9)
    run = fit(VAE, tmp_path / "run", training=training, optimizers=Adam(learning_rate=1.0e-3, decay="linear"))
    rows = run.result.rows
    shares = np.array([row["seconds"] / 0.5 for row in rows])
    rates = np.array([row["vae/learning_rate"] for row in rows]) / 1e-3
    assert rates[-1] < 0.2 and 0.5 <= run.result.train_seconds < 3
    np.testing.assert_allclose(rates[1:], np.clip(1 - shares[:-1], 0, 1), atol=0.1)  # of the step before


def test_going_on_for_longer_says_what_becomes_of_the_rate(tmp_path, capsys):
    options = {"optimizers": Adam(learning_rate=0.01, decay="linear"), "quiet": False}
    fit(VAE, tmp_path / "run", **options)
    capsys.readouterr()
    fit(VAE, tmp_path / "run", training=dataclasses.replace(QUICK, steps=8), **options)
    assert (
        "linear decay of vae was made for 4 steps and is now one over 8: at step 4 its learning rate is 0.005, not 0"
        in (" ".join(capsys.readouterr().err.split()))
    )


# Budgets in seconds


def test_a_finished_budget_is_finished_and_a_rest_is_a_rest(tmp_path):
    endless = Training(steps=10**9, seconds=0.4, batch_size=8, log_every=5, checkpoint_every=10**9)
    timer = threading.Timer(8.0, signal.raise_signal, [signal.SIGINT])
    with pytest.raises(InterruptedRun):
        long = dataclasses.replace(endless, seconds=10**6)
        timer.start()
        fit(VAE, tmp_path / "run", training=long)
    stopped = Checkpoints(tmp_path / "run" / "checkpoints")
    step = stopped.newest_good()
    spent = stopped.metadata(step)["seconds"]
    assert spent > 0
    more = dataclasses.replace(endless, seconds=spent + 0.3)
    run = fit(VAE, tmp_path / "run", training=more)
    assert spent + 0.3 <= run.result.train_seconds < spent + 2.0 and run.step > step
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[-1] >= spent + 0.3  # they keep counting
    again = fit(VAE, tmp_path / "run", training=more)
    assert again.step == run.step and digest(again.params) == digest(run.params)


# Two domains


@dataclasses.dataclass(frozen=True)
class Means:
    """Learns the mean of each of two domains."""

    makes: str = "other"
    given: tuple = ("image",)
    network_evaluations: int = 1

    @property
    def turns(self):
        return (Turn("means", self.loss),)

    def init(self, key, batch):
        return {"means": {name: jax.numpy.zeros(()) for name in ("image", "other")}}, {"means": {}}

    def loss(self, params, buffers, batch, key, *, step, ema):
        errors = [(params["means"][name] - batch[name].mean()) ** 2 for name in ("image", "other")]
        return sum(errors), Aux({})

    def sample(self, params, buffers, key, n, *, image):
        return jax.numpy.zeros_like(image) + params["means"]["other"]


@dataclasses.dataclass(frozen=True)
class MeansConfig:
    def build(self, fields):
        assert set(fields) == {"image", "other"}
        return Means()


def test_two_unpaired_domains_train_side_by_side():
    a, b = np.full((24, 4, 4, 1), 60, np.uint8), np.full((16, 4, 4, 1), 200, np.uint8)
    training = Training(steps=200, batch_size=8, ema_half_life=0)
    run = gen_jax.fit(MeansConfig(), (a, b), training=training, optimizers=Adam(learning_rate=0.05), quiet=True)
    translated = run.sample(0, 5)  # of images that are drawn from the first domain
    assert translated.shape == (5, 4, 4, 1) and np.abs(translated.astype(int) - 200).max() <= 3
    assert (run.conditions(0, 3)["image"] == 60).all()
    assert run.settings["data"]["parts"][1]["fields"] == ["other"]
