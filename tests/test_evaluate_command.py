"""``python -m gen_jax.evaluate`` as a user meets it, and measurements during training."""

import json
import os

import jax
import numpy as np
import pytest
from PIL import Image

import gen_jax
from gen_jax import Training, cli, data, evaluate
from gen_jax.evaluate import Card
from gen_jax.evaluate import __main__ as command
from gen_jax.models import DenseVAEConfig
from gen_jax.ruler import during_training
from gen_jax.train import checkpoint
from tests.payloads import postscript


def pictures(n, seed=0, low=0):
    return np.random.default_rng(seed).integers(low, 256, (n, 8, 8, 1), dtype=np.uint8)


def run(arguments, capsys):
    """Exit status, standard output, and the lines of standard error."""
    status = cli.execute(lambda: command.main(list(map(str, arguments))), data_error=data.DataError)
    out, error = capsys.readouterr()
    return status, out, error.splitlines()


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    np.save(folder / "a.npy", pictures(90))
    np.savez(folder / "a.npz", image=pictures(90))
    (folder / "a").mkdir()
    for i, image in enumerate(pictures(90)):
        Image.fromarray(image[..., 0]).save(folder / "a" / f"{i:03d}.png")
    for name in ("postscript", "pipe"):
        (folder / name).mkdir()
    (folder / "postscript" / "x.png").write_bytes(postscript(folder / "canary"))
    os.mkfifo(folder / "pipe" / "x.png")
    np.save(folder / "colour.npy", np.repeat(pictures(90), 3, -1))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "vae"
    training = Training(steps=40, batch_size=16, ema_ramp=1.0)
    gen_jax.fit(DenseVAEConfig(latent=2, hidden=(8,)), "digits", training=training, directory=directory, quiet=True)
    return directory


def test_every_kind_of_set_gives_the_same_figures(sets, capsys, tmp_path):
    cards = {}
    for kind in ("a", "a.npy", "a.npz"):
        out = tmp_path / f"{kind}.json"
        arguments = [sets / kind, "digits:test", "--metrics", "fid,prdc", "--out", out]
        status, text, _ = run(arguments, capsys)
        assert status == 0 and len(text.splitlines()) == 5 and text.startswith("FD-digits")
        cards[kind] = [Card.from_json(json.dumps(card)) for card in json.loads(out.read_text())]
        assert list(map(str, cards[kind])) == text.splitlines()
    first, *rest = cards.values()
    for other in rest:
        assert evaluate.compare({"a": first[0], "b": other[0]})["b"][0] == pytest.approx(first[0].value, rel=1e-6)
        assert other[0].generated_fingerprint == first[0].generated_fingerprint
    assert first[0].reference == "digits" and first[0].reference_size == 300
    assert first[0].generated_size == 90 and first[0].weights == "none"


def test_statistics_stand_for_their_images(sets, capsys, tmp_path):
    mean, whole = tmp_path / "mean.safetensors", tmp_path / "whole.safetensors"
    assert run(["digits:test", "--save-statistics", mean, "--metrics", "fid,is"], capsys)[0] == 0
    status, text, _ = run(["digits:test", "--save-statistics", whole, "--keep-features"], capsys)
    assert status == 0 and "300 examples of digits test" in text
    assert mean.stat().st_size < whole.stat().st_size
    expected = run([sets / "a.npy", "digits:test", "--metrics", "fid,is"], capsys)[1]
    for reference in (mean, whole):
        assert run([sets / "a.npy", reference, "--metrics", "fid,is"], capsys)[1] == expected
    assert run([sets / "a.npy", whole, "--metrics", "kid,prdc"], capsys)[0] == 0
    status, _, lines = run([sets / "a.npy", mean, "--metrics", "kid"], capsys)
    assert status == 2 and "only moments were kept" in lines[-1]


def test_a_run_is_sampled_as_it_is_measured(trained, capsys):
    arguments = [trained, "digits:test", "--number", 70, "--batch-size", 32, "--json", "--intervals", 3]
    status, text, _ = run(arguments, capsys)
    card = Card.from_json(json.dumps(json.loads(text)[0]))
    assert status == 0 and (card.generated_size, card.reference_size) == (70, 300)
    assert card.weights == "EMA" and len(card.weights_digest) == 16 and card.seeds == (0,)
    assert card.interval[0] <= card.value <= card.interval[1]
    raw = json.loads(run([*arguments, "--raw"], capsys)[1])[0]
    assert raw["weights"] == "raw" and raw["weights_digest"] != card.weights_digest
    assert raw["value"] != card.value
    # the images are those that `sample` gives, and the number is that of the averages, which the digest names
    loaded = gen_jax.load(trained)
    assert evaluate.features.weights_hash(loaded.params, loaded.buffers) == card.weights_digest
    images = loaded.sample(0, 70, batch_size=32)
    net = evaluate.named_feature_network("digits")
    reference = evaluate.summarise(evaluate.from_source(data.load("digits", split="test")), net)
    expected = evaluate.frechet_distance(evaluate.summarise(images, net).moments, reference.moments)
    assert card.value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        ([], 2, "expected: python -m gen_jax.evaluate A B"),
        (["{}/a"], 2, "one is enough with --save-statistics"),
        (["{}/a", "digits:test", "--metric", "fid"], 2, "did you mean --metrics?"),
        (["{}/a", "digits:test", "--metrics", "fdi"], 2, "unknown metric 'fdi'; there are fid, kid"),
        (["{}/b", "digits:test"], 3, "check the path"),
        (["/nowhere/a", "/nowhere/b"], 3, "/nowhere/b"),  # and no word of the network that they would be measured in
        (["{}/a", "digitz"], 3, "did you mean 'digits'?"),
        (["{}/a", "digits:dev"], 3, "no split 'dev'"),
        (["{}/colour.npy", "digits:test"], 2, "takes images [N, H, W, 1]"),
        (["{}/a", "digits:test", "--features", "vgg"], 2, "unknown feature network 'vgg'"),
        (["{}/a", "digits:test", "--neighbours", "0"], 2, "neighbours: expected 1 or more"),
        (["{}/a", "digits:test", "--neighbours", "90"], 2, "more than 90 examples"),
        (["{}/a.npy", "/nowhere/x.safetensors"], 3, "expected statistics"),
        (["{}/a.npy", "x/" + "a" * 5000], 3, "File name too long"),
        (["a" * 300, "digits:test"], 3, "File name too long"),
        (
            ["{}/a.npy", "digits:test", "--out", "/nowhere/x.json"],
            2,
            "--out should be a file in a folder that is there",
        ),
        (["digits:test", "--save-statistics", "{}"], 2, "--save-statistics should be a file"),
        (["{}/a", "digits:test", "--features", "{}/a.safetensors"], 3, "expected weights of a feature network"),
        (["{}/a", "digits:test", "--features", "inception", "--inception-weights", "{}/a"], 3, "it is a folder"),
        (["{}/postscript", "digits:test"], 3, "it is none of PNG, JPEG"),
        (["{}/pipe", "digits:test"], 3, "it is a named pipe"),
    ],
)
def test_mistakes_give_one_line(arguments, status, expected, sets, capsys):
    found, out, lines = run([argument.format(sets) for argument in arguments], capsys)
    assert found == status and not out and len(lines) == 1 and expected in lines[0]


def test_too_few_images_are_said(sets, capsys):
    status, out, lines = run([sets / "a.npy", "digits:test", "--metrics", "fid", "--reference-number", 40], capsys)
    assert status == 0 and "against 40 of digits test" in out
    assert len(lines) == 1 and lines[0].startswith("warning: a Frechet distance from 40 examples of 64 features")


def test_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0 and "--save-statistics" in capsys.readouterr().out


# During training


def trained_state(directory):
    step = max(int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit())
    path = directory / "checkpoints" / str(step)
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = {
        name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where) for name, a in checkpoint.describe(path).items()
    }
    return checkpoint.state_sha256(checkpoint.read(path, abstract))


@pytest.mark.slow
def test_measuring_during_training_leaves_it_as_it_is(tmp_path):
    model, states = DenseVAEConfig(latent=2, hidden=(8,)), {}
    measuring = during_training(data.load("digits"), tmp_path / "measured", metrics=("fid", "prdc"), number=80, seed=0)
    for name, every in (("plain", 0), ("measured", 2)):
        training, evaluate_ = Training(steps=5, batch_size=16, evaluate_every=every), measuring if every else None
        directory = tmp_path / name
        gen_jax.fit(model, "digits", training=training, directory=directory, evaluate=evaluate_, quiet=True)
        states[name] = trained_state(tmp_path / name)
    assert states["plain"] == states["measured"]
    rows = [json.loads(line) for line in (tmp_path / "measured" / "evaluation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 5] and not (tmp_path / "plain" / "evaluation.jsonl").exists()
    cards = [Card.from_json(json.dumps(row["cards"][0])) for row in rows]
    assert {card.metric for card in cards} == {"FD-digits"} and cards[0].generated_size == 80
    assert len({card.value for card in cards}) == 3 and len({card.weights_digest for card in cards}) == 3
    evaluate.compare(dict(zip("abc", cards, strict=True)))
    again = gen_jax.load(tmp_path / "measured")
    assert evaluate.features.weights_hash(again.params, again.buffers) == cards[-1].weights_digest


def test_unknown_metrics_are_refused_before_training(tmp_path):
    with pytest.raises(gen_jax.ConfigError, match="unknown metric 'fdi'; did you mean 'fid'"):
        during_training(data.load("digits"), tmp_path, metrics=("fdi",), number=80, seed=0)
    for options in ({"training": Training(steps=5, evaluate_every=2)}, {"evaluate": lambda run: ""}):
        with pytest.raises(gen_jax.ConfigError, match="both of evaluate= and --evaluate-every"):
            gen_jax.fit(DenseVAEConfig(), "digits", directory=tmp_path / "x", quiet=True, **options)
    assert not (tmp_path / "x").exists()
