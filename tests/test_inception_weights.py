"""Inception's weights: every name and shape, where they are looked for, and what is said of wrong ones."""

import concurrent.futures
import contextlib
import functools
import hashlib
import http.server
import io
import pickle
import shutil
import struct
import threading
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy

from gen_jax.evaluate import inception as module
from gen_jax.evaluate.download import download
from gen_jax.evaluate.inception import load_inception
from gen_jax.evaluate.inception_weights import SHA256, state_from_weights, weights_from_state
from tests.inception_state import random_state


@pytest.fixture(scope="module")
def state():
    return random_state()


def test_state_survives_the_way_there_and_back(state):
    back = state_from_weights(*weights_from_state(state))
    assert back.keys() == state.keys()
    for name, values in state.items():
        np.testing.assert_array_equal(back[name], values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("Mixed_6a.branch3x3.bn.weight"), "branch3x3.bn.weight is missing, float32 .384,. was"),
        (lambda s: s.update({"AuxLogits.fc.bias": np.zeros(3)}), "AuxLogits.fc.bias is not of this network"),
        (
            lambda s: s.update({"fc.bias": np.zeros(1000, np.float32)}),
            r"fc.bias is float32 \(1000,\), float32 \(1008,\)",
        ),
        (lambda s: s.update({"fc.bias": np.zeros(1008)}), "fc.bias is float64"),
        (lambda s: s.update({"fc.bias": np.full(1008, np.nan, np.float32)}), "fc.bias is not finite"),
    ],
)
def test_states_of_other_networks(state, change, message):
    other = dict(state)
    change(other)
    with pytest.raises(ValueError, match=f"x.pth: .*{message}.*SHA-256 6726825d") as caught:
        weights_from_state(other, "x.pth")
    assert "\n" not in str(caught.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A user without weights, environment or network."""
    monkeypatch.delenv("GEN_JAX_INCEPTION", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "download", lambda *_, **__: pytest.fail("it went to the network"))
    return tmp_path / "cache" / "gen_jax"


def torch_bytes(state):
    """A PyTorch file of a state dictionary, made without PyTorch."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value):
        return pickle.dumps(value, 2)[2:-1]

    program, file = [b"\x80\x02}("], io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for key, (name, values) in enumerate(state.items()):
            strides = tuple(stride // 4 for stride in values.strides)
            program += [
                text(name),
                b"ctorch._utils\n_rebuild_tensor_v2\n((",
                text("storage"),
            ]
            program += [
                b"ctorch\nFloatStorage\n",
                text(str(key)),
                text("cpu"),
                number(values.size),
                b"tQK\x00",
                number(values.shape),
            ]
            program += [number(strides), b"\x89}tR"]
            archive.writestr(f"x/data/{key}", values.tobytes())
        archive.writestr("x/data.pkl", b"".join([*program, b"u."]))
    return file.getvalue()


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    """What stands for the published file."""
    path = tmp_path_factory.mktemp("published") / "weights.pth"
    path.write_bytes(torch_bytes(state))
    return path


@pytest.fixture
def published(file, monkeypatch):
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(module, "SIZE", file.stat().st_size)
    return file


@contextlib.contextmanager
def served(folder):
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def same(first, second):
    assert first.hash == second.hash and len(first.hash) == 16
    jax.tree.map(np.testing.assert_array_equal, (first.params, first.buffers), (second.params, second.buffers))


def test_weights_of_ones_own_have_another_name(cache, file, state, monkeypatch):
    found = load_inception(file)
    jax.tree.map(np.testing.assert_array_equal, (found.params, found.buffers), weights_from_state(state))
    assert (found.name, found.metric, found.is_reference) == ("inception", "FD-inception", False)
    assert not cache.exists()
    monkeypatch.setenv("GEN_JAX_INCEPTION", str(file))
    same(load_inception(), found)


def test_published_weights_are_kept(cache, published):
    cache.mkdir(parents=True)
    by_hand = cache / "pt_inception-2015-12-05-6726825d.pth"
    shutil.copy(published, by_hand)
    first = load_inception()
    assert (first.metric, first.is_reference) == ("FID", True)
    by_hand.unlink()
    second = load_inception()
    same(first, second)
    assert second.is_reference and [path.name for path in cache.iterdir()] == ["inception-2015-12-05.safetensors"]

    kept = cache / "inception-2015-12-05.safetensors"
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(ValueError, match=r"safetensors: expected weights with hash .* delete it"):
        load_inception()
    kept.write_bytes(content[:1000])
    with pytest.raises(ValueError, match=r"safetensors: expected weights of Inception, .* fetch https"):
        load_inception()


def test_what_is_put_by_hand_is_what_was_published(cache, file):
    cache.mkdir(parents=True)
    by_hand = cache / "pt_inception-2015-12-05-6726825d.pth"
    for content in (file.read_bytes(), b"<!DOCTYPE html>"):
        by_hand.write_bytes(content)
        with pytest.raises(ValueError, match=rf"6726825d\.pth: expected a file with SHA-256 {SHA256}, got [0-9a-f]+; "):
            load_inception()


def test_published_weights_are_fetched_once(cache, published, monkeypatch):
    monkeypatch.setattr(module, "download", download)
    with served(published.parent) as address:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [pool.submit(load_inception, url=f"{address}/weights.pth") for _ in range(2)]
            first, second = (each.result() for each in both)
        same(first, second)
        with pytest.raises(OSError, match=r"HTTP 404 .* put it at .*6726825d.pth") as caught:
            (cache / "inception-2015-12-05.safetensors").rename(cache / "elsewhere")
            (cache / "pt_inception-2015-12-05-6726825d.pth").unlink()
            load_inception(url=f"{address}/nothing")
        assert "\n" not in str(caught.value)
    (cache / "elsewhere").rename(cache / "inception-2015-12-05.safetensors")
    same(load_inception(), first)
    assert [path.name for path in cache.iterdir()] == ["inception-2015-12-05.safetensors"]


def test_a_cache_that_cannot_be_written(cache, published):
    cache.parent.mkdir()
    cache.write_text("")
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert load_inception(published).is_reference


def test_files_that_are_missing_or_wrong(cache, tmp_path):
    with pytest.raises(OSError, match=rf"none\.pth: exp.*No such file.*https.*SHA-256 {SHA256}.*{cache}") as caught:
        load_inception(tmp_path / "none.pth")
    assert "\n" not in str(caught.value)
    for content, message in {
        b"<!DOCTYPE html>": f"cannot read them .*SHA-256 {SHA256}",
        b"PK\x03\x04 and so on": "state dictionary, the file is damaged",
        safetensors.numpy.save({"x": np.zeros(3)}): "Conv2d_1a_3x3.conv.weight is missing",
    }.items():
        (tmp_path / "wrong").write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            load_inception(tmp_path / "wrong")
        assert "\n" not in str(caught.value)
