"""What lies beside the arrays of a run: what it owes, its logs, its settings; cut off, lost, damaged, or strange."""

import copy
import dataclasses
import functools
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

import gen_jax
from gen_jax import Adam, ConfigError, settings
from gen_jax.data import from_arrays
from gen_jax.fitting import _draw
from gen_jax.run import model_of
from gen_jax.settings import read_settings
from gen_jax.train import files
from gen_jax.train.checkpoint import CheckpointError, Checkpoints, flatten, state_sha256
from gen_jax.train.manifest import verify, write_manifest
from gen_jax.train.owed import Owed
from gen_jax.train.room import DiskFullError
from tests.test_train import IMAGES, QUICK, TINY, fit, play


class KilledError(BaseException):
    """In place of a signal that cannot be caught."""


@pytest.mark.parametrize("cut", [("draw", 3), ("evaluate", 6)])
def test_what_a_killed_run_owed_is_made_up_for_and_only_once(tmp_path, cut):
    training, shown, cuts = dataclasses.replace(QUICK, sample_every=3, evaluate_every=3), [], [cut]

    def show(name, state):
        if cuts == [(name, int(state.step))]:
            cuts.clear()
            raise KilledError
        shown.append((name, int(state.step)))

    def attempt():
        def draw(state):
            show("draw", state)

        def evaluate(state):
            show("evaluate", state)
            return "measured"

        play(training=training, directory=tmp_path, draw=draw, evaluate=evaluate)

    with pytest.raises(KilledError):
        attempt()
    attempt()
    assert list(dict.fromkeys(shown)) == [("draw", 3), ("evaluate", 3), ("draw", 6), ("evaluate", 6)]
    everything = list(shown)
    attempt()
    assert shown == everything and not (tmp_path / "owed.json").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'{"step": 6}', b"[" * 100_000])
def test_a_damaged_note_of_what_is_owed_is_said_once(tmp_path, content):
    (tmp_path / "owed.json").write_bytes(content)
    with pytest.warns(UserWarning, match="owed.json cannot be read"):
        assert Owed(tmp_path).at(6) == []
    assert Owed(tmp_path).at(6) == []


# Logs

LINES = [json.dumps({"step": step, "x": 0.5}) for step in range(1, 6)]


@pytest.mark.parametrize("step", [0, 3])
def test_a_log_that_was_cut_at_any_byte_has_its_whole_rows_up_to_the_step(tmp_path, step):
    log, whole = tmp_path / "metrics.jsonl", "".join(line + "\n" for line in LINES)
    for length in range(len(whole) + 1):
        log.write_text(whole[:length])
        rows = files.cut_back(log, step)
        expected = LINES[: min(step, whole[:length].count("\n"))]
        assert [json.dumps(row) for row in rows] == expected
        assert log.read_text() == "".join(line + "\n" for line in expected)
    assert list(tmp_path.iterdir()) == [log] and files.cut_back(tmp_path / "none.jsonl", step) == []


def test_a_log_that_needs_no_cutting_is_not_written(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text("\n".join(LINES) + "\n")
    before = log.stat()
    assert len(files.cut_back(log, 5)) == 5 and log.stat() == before


@pytest.mark.parametrize(
    "bad", [b"{x}", b"{}", b"[]", b"3", b"\xff\xfe{", b'{"step": "x"}', b'{"step": NaN}', b"[" * 10**5]
)
def test_a_bad_line_is_said_and_costs_no_other(tmp_path, bad):
    log = tmp_path / "metrics.jsonl"
    damaged = b"\n".join([LINES[0].encode(), bad, *map(str.encode, LINES[1:]), b""])
    log.write_bytes(damaged)
    with pytest.warns(UserWarning, match="1 of its lines cannot be read"):
        assert [row["step"] for row in files.read_log(log)] == [1, 2, 3, 4, 5]
    with pytest.warns(UserWarning, match="1 of its lines cannot be read"):
        assert [row["step"] for row in files.cut_back(log, 4)] == [1, 2, 3, 4]
    assert (tmp_path / "metrics.jsonl.corrupt").read_bytes() == damaged
    assert log.read_text().splitlines() == LINES[:4]


def test_a_full_disk_leaves_a_log_as_it_was(tmp_path, monkeypatch):
    log = tmp_path / "metrics.jsonl"
    log.write_text("\n".join(LINES) + "\n")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=f"writing {log} failed: the disk is full.* it needs [0-9]+ bytes, and [0-9,]+ are free"
    ):
        files.cut_back(log, 2)
    assert log.read_text().splitlines() == LINES and list(tmp_path.iterdir()) == [log]


def test_a_picture_that_a_full_disk_has_cut_off_is_none(run, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (picture,) = (run / "samples").iterdir()
    picture.unlink()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=f"writing {picture} failed: .* it needs [0-9,]+ bytes"):
        _draw(gen_jax.load(run), [from_arrays(IMAGES)], run)
    assert not list((run / "samples").iterdir())


@pytest.mark.parametrize("killed", [3, 5])  # after a saved step, and between two
def test_the_logs_of_a_killed_run_are_those_of_a_whole_one(tmp_path, killed):
    training, cuts = dataclasses.replace(QUICK, log_every=1, evaluate_every=1), [killed]

    def evaluate(state):
        files.append(tmp_path / "evaluation.jsonl", {"step": int(state.step)})
        if cuts == [int(state.step)]:
            cuts.clear()
            raise KilledError
        return "measured"

    with pytest.raises(KilledError):
        play(training=training, directory=tmp_path, evaluate=evaluate)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1')  # a row that was being written
    play(training=training, directory=tmp_path, evaluate=evaluate)
    for name in ("metrics.jsonl", "evaluation.jsonl"):
        assert [row["step"] for row in files.read_log(tmp_path / name)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("killed", [4, 5, 7])
def test_the_rows_of_a_killed_run_are_means_over_the_same_steps(tmp_path, killed):
    training, cuts = dataclasses.replace(QUICK, steps=12, log_every=4, checkpoint_every=3, sample_every=1), [killed]

    def draw(state):
        if cuts == [int(state.step)]:
            cuts.clear()
            raise KilledError

    def rows(directory):
        found = files.read_log(directory / "metrics.jsonl")
        return [{name: value for name, value in row.items() if "second" not in name} for row in found]

    play(training=training, directory=tmp_path / "whole", draw=lambda state: None)
    with pytest.raises(KilledError):
        play(training=training, directory=tmp_path / "killed", draw=draw)
    play(training=training, directory=tmp_path / "killed", draw=draw)
    assert [row["step"] for row in rows(tmp_path / "whole")] == [4, 8, 12]
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.jsonl", "owed.json", "checkpoints/6/manifest.json"])
def test_a_pipe_in_a_run_is_not_waited_for(played, tmp_path, name):
    run = Path(shutil.copytree(played, tmp_path / "run"))
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    refused, passed = (
        pytest.raises(OSError, match="it is a named pipe"),
        pytest.warns(UserWarning, match="cannot be read"),
    )
    told = refused if "jsonl" in name else passed
    waits = signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.alarm(20)
    try:
        with told:
            play(directory=run)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, waits)


# Manifests


@pytest.fixture
def step(tmp_path):
    """The files of a step, and their manifest."""
    (tmp_path / "3" / "d").mkdir(parents=True)
    (tmp_path / "3" / "d" / "array").write_bytes(b"numbers")
    (tmp_path / "3" / "_METADATA").write_bytes(b"{}")
    write_manifest(tmp_path / "3")
    assert verify(tmp_path / "3") is None
    return tmp_path / "3"


def test_a_changed_bit_of_a_manifest_is_found_in_every_byte(step):
    manifest = step / "manifest.json"
    content = manifest.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        for spoilt in (damaged, content[:place]):
            manifest.write_bytes(spoilt)
            assert verify(step) is not None, place


def test_a_manifest_of_anything_else_is_a_damaged_one(step):
    manifest = step / "manifest.json"
    whole = json.loads(manifest.read_text())
    odd = [None, 3, "x", [], {}, [[]], {"size": None, "sha256": None}, {"size": 7}, {"sha256": "0" * 64}]
    for value in odd:
        for spoilt in (value, {"files": value}, {"files": {**whole["files"], "_METADATA": value}}):
            manifest.write_text(json.dumps(spoilt))
            assert verify(step) is not None, spoilt
    manifest.write_text("[" * 10**5)
    assert "cannot be read" in verify(step)
    manifest.unlink()
    manifest.mkdir()
    assert "cannot be read" in verify(step)


# Settings


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("settings") / "run"
    fit(directory)
    return directory


@pytest.fixture
def run(trained, tmp_path):
    """The directory of a run, to be spoilt."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def _places(tree, path=()):
    """Of everything within a tree of JSON."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


def _spoilt(tree, path, value):
    tree = copy.deepcopy(tree)
    *way, last = path
    parent = functools.reduce(lambda part, key: part[key], way, tree)
    if value == "missing":
        del parent[last]
    else:
        parent[last] = value
    return tree


def test_whatever_is_spoilt_in_a_configuration_is_one_error(trained, tmp_path):
    whole = json.loads((trained / "config.json").read_text())
    refused = 0
    for path in _places(whole):
        for value in ("missing", None, -1, 10**30, "x", [], {}, [[]]):
            spoilt = _spoilt(whole, path, value)
            (tmp_path / "config.json").write_text(json.dumps(spoilt))
            try:
                read = read_settings(tmp_path)
                if any(read[part] != whole[part] for part in ("model", "fields", "training", "data")):
                    model_of(read)
            except ConfigError as error:
                assert "\n" not in str(error), (path, value)
                refused += 1
    assert refused > 200


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"3", b"{", b"\xff\xfe", b"[" * 10**5, b'{"model": {}}'])
def test_a_damaged_configuration_is_said_and_written_anew_by_the_same_settings(run, content):
    whole = (run / "config.json").read_bytes()
    (run / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json is damaged: .*repeat the command"):
        gen_jax.load(run)
    assert (run / "config.json").read_bytes() == content
    with pytest.warns(UserWarning, match=r"config\.json is damaged"):
        fit(run)
    assert (run / "config.json").read_bytes() == whole


@pytest.mark.parametrize("lost", [True, False])
def test_without_its_configuration_a_run_goes_on_by_its_own_settings_only(run, lost):
    whole = (run / "config.json").read_bytes()
    if lost:
        (run / "config.json").unlink()
    else:  # settings of another run
        (run / "config.json").write_bytes(whole.replace(b'"seed": 0', b'"seed": 7'))
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=r"holds a run with training\.seed = 0, this one has 7"):
        fit(run, dataclasses.replace(QUICK, seed=7))
    if lost:
        with pytest.raises(ConfigError, match=r"holds a run with optimizers\.vae\.learning_rate"):
            fit(run, optimizers=Adam(learning_rate=0.5))
        with pytest.raises(ConfigError, match=r"holds a run with model\.latent = 2, this one has 3"):
            gen_jax.fit(dataclasses.replace(TINY, latent=3), IMAGES, training=QUICK, directory=run, quiet=True)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    (run / "config.json").unlink(missing_ok=True)
    assert fit(run).step == 6 and (run / "config.json").read_bytes() == whole


def test_checkpoints_that_do_not_say_their_settings_still_restore(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "held", lambda described: {})  # as an earlier version saved them
    fit(tmp_path)
    monkeypatch.undo()
    (tmp_path / "config.json").unlink()
    with pytest.warns(UserWarning, match="has lost its config.json"):
        assert fit(tmp_path).step == 6
    assert gen_jax.load(tmp_path).step == 6


def test_a_damaged_list_of_stages_is_one_error(tmp_path):
    for content in (b"{", b"[]", b'{"stages": 3}', b'{"stages": [3]}'):
        (tmp_path / "stages.json").write_bytes(content)
        with pytest.raises(ConfigError, match=r"stages\.json is damaged"):
            gen_jax.load(tmp_path)


# What else lies among the checkpoints


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    directory = tmp_path_factory.mktemp("played") / "run"
    play(directory=directory)
    return directory


@pytest.fixture
def checkpoints(played, tmp_path):
    """The checkpoints of a run, steps 3 and 6, to be spoilt."""
    return Path(shutil.copytree(played, tmp_path / "run")) / "checkpoints"


LITTER = (".DS_Store", "._array", "Thumbs.db", "desktop.ini", ".nfs000000000000b5c10000000a")
BESIDE = (*LITTER, "4 (copy)", "\u00b2", "\u0669", "06", "-7", "7.5", "99", "13.orbax-checkpoint-tmp")


@pytest.mark.filterwarnings("error")
def test_strange_files_neither_spoil_a_run_nor_are_taken_for_checkpoints(checkpoints):
    intruders = [checkpoints / name for name in BESIDE]
    intruders += [checkpoints / step / folder / name for step in "36" for folder in ("", "state") for name in LITTER]
    for number, path in enumerate(intruders):
        if path.parent == checkpoints and number % 2 and path.name != "99":
            path.mkdir()
        else:
            path.write_bytes(b"not ours")
    assert Checkpoints(checkpoints).steps() == [3, 6] and Checkpoints(checkpoints).newest_good() == 6
    longer = dataclasses.replace(QUICK, steps=12)
    resumed, whole = play(training=longer, directory=checkpoints.parent), play(training=longer)
    assert state_sha256(flatten(resumed.state)) == state_sha256(flatten(whole.state))
    assert Checkpoints(checkpoints).newest_good() == 12
    assert all(path.exists() for path in intruders if path.parent == checkpoints)


def test_what_a_browser_leaves_while_a_manifest_is_written_is_no_part_of_it(step):
    (step / ".DS_Store").write_bytes(b"places")
    write_manifest(step)
    (step / ".DS_Store").write_bytes(b"other places")
    assert verify(step) is None
    (step / ".DS_Store").unlink()
    assert verify(step) is None
    (step / "more").write_bytes(b"")
    assert verify(step) == "more is not in its manifest"


def test_a_copy_under_another_name_is_put_aside(checkpoints):
    shutil.copytree(checkpoints / "3", checkpoints / "99")
    with pytest.warns(UserWarning, match="99 is not usable: it holds step 3"):
        assert Checkpoints(checkpoints).newest_good() == 6
    (checkpoints / "6").rename(checkpoints / "8")
    with pytest.warns(UserWarning, match="8 is not usable: it holds step 6"):
        assert Checkpoints(checkpoints).newest_good() == 3


def test_exchanged_checkpoints_are_refused_and_can_be_changed_back(checkpoints):
    def exchange():
        for old, new in (("3", "x"), ("6", "3"), ("x", "6")):
            (checkpoints / old).rename(checkpoints / new)

    exchange()
    with pytest.raises(CheckpointError, match=r"step 3: it holds step 6.*step 6: it holds step 3"):
        Checkpoints(checkpoints).newest_good()
    exchange()
    assert Checkpoints(checkpoints).newest_good() == 6


def test_a_save_that_was_not_finished_is_kept_until_a_later_one_is_good_and_a_damaged_one_for_longer(checkpoints):
    def attempt(steps):
        play(training=dataclasses.replace(QUICK, steps=steps), directory=checkpoints.parent)
        return {path.name for path in checkpoints.iterdir()}

    shutil.copytree(checkpoints / "6", checkpoints / "99")
    (checkpoints / "6" / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="not usable"):
        assert attempt(5) == {"3", "5", "99.corrupt"}
    (checkpoints / "7").mkdir()  # and nothing of ours is in it
    with pytest.warns(UserWarning, match="7 is not usable"):
        assert attempt(9) == {"6", "9", "7.corrupt", "99.corrupt"}


@pytest.mark.parametrize("kind", ["file", "folder", "copy"])
def test_what_lies_where_a_step_is_to_be_saved_is_put_aside(checkpoints, kind):
    longer, place = dataclasses.replace(QUICK, steps=12), checkpoints / "9"

    def intrude(state):
        if int(state.step) == 8:
            {
                "file": lambda: place.write_text("mine"),
                "folder": lambda: (place.mkdir(), (place / "mine").write_text("mine")),
                "copy": lambda: shutil.copytree(checkpoints / "6", place),
            }[kind]()

    with pytest.warns(UserWarning, match=f"checkpoint {place} is not usable"):
        play(training=dataclasses.replace(longer, sample_every=1), directory=checkpoints.parent, draw=intrude)
    assert Checkpoints(checkpoints).steps() == [9, 12] and (checkpoints / "9.corrupt").exists()
    assert verify(place) is None


def test_what_may_change_on_resume_and_changes_bits_is_said(run, capsys):
    def said(**changes):
        training = dataclasses.replace(QUICK, steps=6, **changes)
        gen_jax.fit(TINY, IMAGES, training=training, directory=run)
        return [line for line in capsys.readouterr().err.splitlines() if "bit-identical" in line]

    assert said() == []
    assert [line.split(":")[1].strip() for line in said(steps_per_call=2)] == ["steps_per_call was 1 and is now 2"]
    assert [line.split(":")[1].strip() for line in said(steps_per_call=2, fsdp=True)] == [
        "fsdp was False and is now True"
    ]
