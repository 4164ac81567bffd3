"""What lies beside the arrays of a run: what it owes, its logs, its settings; cut off, lost, damaged, or strange."""

import dataclasses

import pytest

from gen_jax.train.owed import Owed
from tests.test_train import QUICK, play


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
