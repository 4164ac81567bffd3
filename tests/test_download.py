"""A download leaves the right file or none, and says what came instead. Every server is on this machine."""

import concurrent.futures
import contextlib
import hashlib
import http.server
import threading

import pytest

from gen_jax.evaluate.download import DownloadError, download

CONTENT = bytes(range(256)) * 40_000  # 10 MB, of several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = CONTENT[:-1] + b"?"


class Handler(http.server.BaseHTTPRequestHandler):
    asked: list[str]
    released: threading.Event

    def do_GET(self):
        self.asked.append(self.path)
        kind = self.path.strip("/")
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "busy" or (kind == "once" and self.asked.count(self.path) == 1):
            self.send_error(503)
            return
        body = {"wrong": WRONG, "page": b"<!DOCTYPE html>", "long": CONTENT * 2}.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that has seen enough goes away
            self.wfile.write(body[: len(body) // 2] if kind == "truncated" else body)

    def log_message(self, *_):
        pass


class Stalling(Handler):
    """Announces the content, sends a part, and falls silent."""

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])
        self.wfile.flush()
        self.released.wait(20)


@pytest.fixture(params=[Handler])
def server(request):
    handler = type("Own", (request.param,), {"asked": [], "released": threading.Event()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", handler.asked
        handler.released.set()
        running.shutdown()


def fetch(url, path, **changes):
    return download(url, path, **({"sha256": SHA256, "size": len(CONTENT), "timeout": 5, "pause": 0.01} | changes))


def test_the_right_file_arrives(server, tmp_path):
    address, asked = server
    path = tmp_path / "deep" / "folder" / "x.bin"
    assert fetch(f"{address}/good", path) == path
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path] and asked == ["/good"]


def test_a_server_that_is_busy_once(server, tmp_path):
    address, asked = server
    assert fetch(f"{address}/once", tmp_path / "x").read_bytes() == CONTENT and len(asked) == 2


@pytest.mark.parametrize(
    ("kind", "message", "tries"),
    [
        ("wrong", f"expected 10,240,000 bytes with SHA-256 {SHA256}, got 10,240,000 bytes with SHA-256", 3),
        ("truncated", "got 5,120,000 bytes|IncompleteRead", 3),
        ("long", "got more than 10,240,000 bytes", 3),
        ("page", "got 15 bytes", 3),
        ("missing", "HTTP 404", 1),
        ("busy", "HTTP 503", 3),
    ],
)
def test_anything_else_leaves_nothing(server, tmp_path, kind, message, tries):
    address, asked = server
    with pytest.raises(DownloadError, match=message) as caught:
        fetch(f"{address}/{kind}", tmp_path / "x")
    assert "\n" not in str(caught.value) and f"put it at {tmp_path / 'x'}" in str(caught.value)
    assert not list(tmp_path.iterdir()) and len(asked) == tries


@pytest.mark.parametrize("server", [Stalling], indirect=True)
def test_a_server_that_falls_silent(server, tmp_path):
    with pytest.raises(DownloadError, match="timed out"):
        fetch(f"{server[0]}/x", tmp_path / "x", timeout=0.3, tries=2)
    assert not list(tmp_path.iterdir())


def test_nobody_there(tmp_path):
    with pytest.raises(DownloadError, match="refused"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", tries=1)
    for address in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(DownloadError, match="http"):
            fetch(address, tmp_path / "x")


def test_a_failure_keeps_what_was_there(server, tmp_path):
    (tmp_path / "x").write_bytes(b"before")
    with pytest.raises(DownloadError):
        fetch(f"{server[0]}/wrong", tmp_path / "x", tries=1)
    assert (tmp_path / "x").read_bytes() == b"before"


def test_two_at_once(server, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(fetch, f"{server[0]}/good", tmp_path / "x") for _ in range(4)]:
            assert done.result().read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="expected a folder"):
        fetch("http://127.0.0.1:9/x", tmp_path / "file" / "x")
