"""The command line: what works, and one clear line for everything that does not."""

import importlib
import json
import subprocess
import sys
import threading
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import (
    consistency,
    dcgan,
    ddgan,
    ddpm,
    edm,
    flow_matching,
    gmm,
    improved_ddpm,
    launch,
    score_sde,
    trilemma,
    vae,
    vdm,
    vqvae,
)
from experiments.comparison import compare
from gen_jax import __main__ as command
from gen_jax import cli, data, stages
from gen_jax.models import CONFIGURATIONS, presets
from gen_jax.settings import configuration_from, describe_configuration

ROOT = Path(__file__).parent.parent
TINY = ["--latent", "2", "--widths", "4", "--dense", "8", "--batch-size", "8", "--log-every", "1"]
EXPERIMENTS = {
    "vae": vae, "vqvae": vqvae, "dcgan": dcgan, "ddpm": ddpm, "ddgan": ddgan, "gmm": gmm, "score_sde": score_sde,
    "edm": edm, "flow_matching": flow_matching, "vdm": vdm, "consistency": consistency, "improved_ddpm": improved_ddpm,
}  # fmt: skip


def run(arguments, capsys, monkeypatch, experiment="vae"):
    """Exit status and the lines on standard error of one experiment, in this process."""
    module = EXPERIMENTS.get(experiment, trilemma)
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main = partial(compare, trilemma.COMPARISON) if module is trilemma else None
        launch.launch(module.PRESETS, name=experiment, doc=module.__doc__, main=main)
    return stopped.value.code, capsys.readouterr().err.strip().splitlines()


def gen_jax_command(arguments, capsys):
    status = cli.execute(lambda: command.main(arguments), data_error=data.DataError)
    output = capsys.readouterr()
    return status, output.out.strip(), output.err.strip().splitlines()


@pytest.fixture
def folder(tmp_path):
    """A folder of images, to be spoilt."""
    place = tmp_path / "images"
    place.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / f"{index:02d}.png")
    return place


def test_stages_share_a_budget_in_seconds(tmp_path, capsys, monkeypatch):
    given = []
    monkeypatch.setattr(stages, "fit", lambda *_, training, **__: given.append(training.seconds) or given)
    options = ["--seconds", "10", "--codec-share", "0.3", "--workdir", str(tmp_path)]
    assert run(options, capsys, monkeypatch, "vqvae")[0] == 0
    assert given == [3.0, 7.0]


def _bad_flags():
    yield ["--stepz", "3"], "did you mean --steps?"
    yield ["--learning-rat=3"], "did you mean --learning-rate?"
    yield ["--steps", "abc"], "--steps"
    yield ["--latent", "2.5"], "--latent"
    yield ["--precision", "float16"], "float16"
    yield ["--steps", "0"], "steps: expected 1 or more, got 0"
    yield ["--preset", "huge"], "unknown preset 'huge'"
    yield ["--likelihood", "cauchy"], "cauchy"
    yield ["--batch-size", "7"], "devices"
    yield ["--accumulate", "3"], "--accumulate 3"
    yield ["--decay", "cosin"], "cosine"
    yield ["--learning-rate", "nan"], "learning_rate: expected 0 or more, got nan"
    for address in ("localhost", "localhost:abc", "localhost:0", "localhost:65536", ":99", "localhost:\u0663", "a:-1"):
        yield ["--coordinator", address, "--processes", "2"], "expected host:port with a port of 1 to 65535, or auto"
    yield ["--coordinator", f"{'x' * 70}.invalid:99"], "no such host"
    yield ["--coordinator", "auto"], "finds no other processes"
    yield (
        ["--coordinator", "localhost:99", "--process", "2", "--processes", "2"],
        "process: expected less than --processes, 2, got 2",
    )
    yield ["--processes", "2"], "need the --coordinator"
    yield ["--processes", "0"], "expected 1 or more, got 0"
    yield ["--process", "-1"], "expected 0 or more, got -1"
    yield ["--crop", "8"], "crop: expected 0 or more, and less than the 8 pixels of the image, got 8"
    yield ["--begin", "vae"], "expected PLAYER=DIRECTORY"
    yield ["--begin", "vae=/nowhere"], "holds no run"
    yield ["--metrics", "fidd", "--evaluate-every", "1"], "unknown metric 'fidd'"


def test_no_directory_is_not_the_one_that_one_is_in(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("vae", "trilemma"):
        status, lines = run(["--workdir", ""], capsys, monkeypatch, name)
        assert status == 2 and len(lines) == 1 and "--workdir: expected a directory" in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"), _bad_flags(), ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_settings_give_one_line_and_touch_nothing(arguments, expected, tmp_path, capsys, monkeypatch):
    workdir = tmp_path / "run"
    status, lines = run([*arguments, "--workdir", str(workdir)], capsys, monkeypatch)
    assert status == 2 and len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0]
    assert not workdir.exists()


def _spoil(kind, folder):
    if kind == "missing path":
        return str(folder / "nowhere"), "no such file"
    if kind == "empty folder":
        empty = folder.parent / "empty"
        empty.mkdir()
        return str(empty), "empty"
    if kind == "corrupt image":
        (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:40])
        return str(folder), "05.png"
    if kind == "two sizes":
        Image.new("L", (12, 12)).save(folder / "99.png")
        return str(folder), "99.png"
    if kind == "four channels":
        np.save(folder.parent / "four.npy", np.zeros((20, 8, 8, 4), np.uint8))
        return str(folder.parent / "four.npy"), "4"
    if kind == "floats":
        np.save(folder.parent / "floats.npy", np.zeros((20, 8, 8, 1), np.float32))
        return str(folder.parent / "floats.npy"), "float32"
    if kind == "unknown name":
        return "fashion_mnits", "fashion_mnist"
    raise AssertionError(kind)


KINDS = (
    "missing path", "empty folder", "corrupt image", "two sizes", "four channels", "floats", "unknown name",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bad_data_gives_one_line_and_touches_nothing(kind, folder, tmp_path, capsys, monkeypatch):
    source, expected = _spoil(kind, folder)
    workdir = tmp_path / "run"
    status, lines = run([*TINY, "--data", source, "--workdir", str(workdir)], capsys, monkeypatch)
    assert status == 3 and len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0]
    assert not workdir.exists()


def test_a_conditional_model_needs_labels(folder, tmp_path, capsys, monkeypatch):
    arguments = [*TINY, "--conditional", "--data", str(folder), "--workdir", str(tmp_path / "run")]
    status, lines = run(arguments, capsys, monkeypatch)
    assert status == 3 and len(lines) == 1 and "no labels" in lines[0]


def test_a_diverged_run_names_step_and_player_and_saves_nothing(tmp_path, capsys, monkeypatch):
    arguments = [*TINY, "--learning-rate", "1e39", "--checkpoint-every", "1", "--workdir", str(tmp_path / "run")]
    status, lines = run(arguments, capsys, monkeypatch)
    assert status == 5 and lines[-1].startswith("error: step 1: params.") and "of player 'vae' is not" in lines[-1]
    assert not list(tmp_path.rglob("manifest.json"))
    # what it advises works: nothing was saved, and so the directory takes other settings
    arguments = [*TINY, "--learning-rate", "1e-3", "--steps", "2", "--workdir", str(tmp_path / "run")]
    assert "--workdir" not in lines[-1] and run(arguments, capsys, monkeypatch)[0] == 0


def test_train_sample_evaluate_and_ask(tmp_path, capsys, monkeypatch):
    workdir, out = str(tmp_path / "run"), tmp_path / "x.npy"
    status, lines = run([*TINY, "--steps", "3", "--workdir", workdir], capsys, monkeypatch)
    assert status == 0 and "step 3/3" in lines[-1]
    assert gen_jax_command(["sample", workdir, "--number", "5", "--out", str(out)], capsys)[0] == 0
    assert np.load(out).shape == (5, 8, 8, 1) and np.load(out).dtype == np.uint8
    picture = tmp_path / "x.png"
    assert gen_jax_command(["sample", workdir, "--number", "4", "--out", str(picture)], capsys)[0] == 0
    assert Image.open(picture).size == (2 * 64 + 1, 2 * 64 + 1)
    folder = f"{tmp_path / 'pictures'}/"
    assert gen_jax_command(["sample", workdir, "--number", "5", "--out", folder], capsys)[0] == 0
    files = sorted(Path(folder).iterdir())
    assert [file.suffix for file in files] == [".png"] * 5  # and not a format that loses something
    assert (np.stack([np.asarray(Image.open(file)) for file in files])[..., None] == np.load(out)).all()
    status, _, lines = gen_jax_command(["sample", workdir, "--out", folder], capsys)
    assert status == 2 and "holds files already" in lines[0]
    status, text, _ = gen_jax_command(["info", workdir, "--json"], capsys)
    described = json.loads(text)
    assert status == 0 and described["step"] == 3 and len(described["state_sha256"]) == 64
    assert described["parameters"]["total"] == described["parameters"]["vae"] > 0
    assert gen_jax_command(["info", workdir], capsys)[1].startswith("directory")
    status, text, _ = gen_jax_command(["evaluate", workdir, "--number", "50", "--json"], capsys)
    cards = {card["metric"]: card for card in json.loads(text)}
    assert status == 0 and cards["FD-digits"]["generated_size"] == 50 and cards["FD-digits"]["weights"] == "EMA"
    # another model on the same directory is refused, and nothing there changes
    before = {path: path.stat().st_mtime_ns for path in Path(workdir).rglob("*")}
    status, lines = run([*TINY, "--latent", "3", "--workdir", workdir], capsys, monkeypatch)
    assert status == 2 and len(lines) == 1 and "model.latent = 2" in lines[0]
    assert {path: path.stat().st_mtime_ns for path in Path(workdir).rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        ([], 2, "expected: python -m gen_jax"),
        (["smaple", "x"], 2, "unknown command 'smaple'"),
        (["sample"], 2, "no directory"),
        (["sample", "/nowhere"], 2, "holds no run"),
        (["sample", "/nowhere", "--out", "x.gif"], 2, ".png, .npy or"),
        (["sample", "/nowhere", "--numbr", "4"], 2, "did you mean --number?"),
        (["info", "/nowhere"], 2, "config.json is missing"),
    ],
)
def test_bad_commands_give_one_line(arguments, status, expected, capsys):
    found, _, lines = gen_jax_command(arguments, capsys)
    assert found == status and len(lines) == 1 and expected in lines[0]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_preset_survives_json(name):
    of_file = {file: model for file, model in presets().items() if file.startswith(f"{name}.")}
    for model in [settings.model for settings in EXPERIMENTS[name].PRESETS.values()] + [*of_file.values()]:
        described = json.loads(json.dumps(describe_configuration(model)))
        assert configuration_from(described) == model
        assert type(model) in CONFIGURATIONS
    assert {f"{name}.SMALL", f"{name}.REFERENCE"} <= of_file.keys()


def test_no_two_flags_of_an_experiment_are_one():
    """Of all presets: a setting of a model that is called as one of training would leave no command line at all."""
    tried = 0
    for file in sorted((ROOT / "experiments").glob("*.py")):
        for name, preset in getattr(importlib.import_module(f"experiments.{file.stem}"), "PRESETS", {}).items():
            flags = cli._flags(preset)
            assert len(flags) == len(set(flags)), (file.stem, name, {f for f in flags if flags.count(f) > 1})
            tried += 1
    assert tried > 60


@pytest.mark.parametrize("name", ["vae", "trilemma"])
def test_help_states_units_and_defaults(name):
    text = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--data" in text and "default: digits" in text and "seconds" in text and "pixels" in text


def test_a_warning_of_ours_is_one_line():
    shown, before = [], warnings.formatwarning

    def main():
        for category in (UserWarning, DeprecationWarning):
            shown.append(warnings.formatwarning("step 6 is\nnot usable", category, "there.py", 1))

    assert cli.execute(main, data_error=data.DataError) == 0
    assert shown[0] == "warning: step 6 is not usable\n" and shown[1].startswith("there.py:1: DeprecationWarning")
    assert warnings.formatwarning is before


def test_out_of_memory_is_one_line(capsys):
    def host():
        np.empty((10**15,), np.float64)

    def device():
        jax.jit(lambda: jnp.zeros((10**15,)) + 1)().block_until_ready()

    for main in (host, device):
        assert cli.execute(main, data_error=data.DataError) == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: out of memory (") and "lower the batch size" in line


@pytest.mark.parametrize("debugging", [False, True])
def test_what_other_threads_tell_of_an_error_is_kept_back(debugging, capsys, monkeypatch):
    def main():
        failing = threading.Thread(target=lambda: 1 / 0)
        failing.start()
        failing.join()
        sys.unraisablehook(SimpleNamespace(exc_type=ValueError, exc_value=ValueError(), object=None))
        raise OSError(5, "Input/output error", "x")

    told: list = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    monkeypatch.setenv("GEN_JAX_DEBUG", "1" if debugging else "")
    assert cli.execute(main, data_error=data.DataError) == 74
    assert len(told) == 2 * debugging and capsys.readouterr().err.splitlines()[-1].startswith("error: [Errno 5]")
    assert threading.excepthook == sys.unraisablehook == told.append


def test_an_unforeseen_error_keeps_its_traceback():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.execute(broken, data_error=data.DataError)
