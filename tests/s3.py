"""An S3 server on this machine for tests, which counts requests, and can be told to fail some or to be away.

python tests/s3.py 127.0.0.1 9000        one with an empty bucket `bucket`, until it is killed
"""

import collections
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

BUCKET = "bucket"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Of the environment."""
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """Moto behind a door that counts, and can be shut."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._app: Wsgi = DomainDispatcherApplication(create_backend_app)
        self.counts = collections.Counter[str]()
        self.fails: Callable[[str], bool] = lambda method: False
        """Whether a request is answered as a throttled server does."""
        self.has_conditions = True
        self.names_conditions = True
        """Whether a refusal says which condition did not hold, as S3's does and Ceph's does not."""
        self._lock = threading.Lock()
        self._server = make_server(host, port, self._answer, threaded=True)
        self.url = f"http://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = str(environ["REQUEST_METHOD"])
        with self._lock:
            self.counts["LIST" if "list-type=2" in environ["QUERY_STRING"] else method] += 1
            failing = self.fails(method)
        if failing:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if not self.has_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:  # Moto looks and then writes: two conditional puts at once would both come first.
            if self.names_conditions:
                return list(self._app(environ, start_response))
            return self._tersely(environ, start_response)

    def _tersely(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        began = list[Any]()
        answer = b"".join(self._app(environ, lambda *head: began.extend(head)))
        status, headers = began[:2]
        if status.startswith("412"):
            answer = b"<Error><Code>PreconditionFailed</Code><BucketName>bucket</BucketName></Error>"
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(answer)))]
        start_response(status, headers)
        return [answer]

    def fail_at_random(self, share: float, seed: int) -> None:
        """Let that share of all requests fail."""
        rng = random.Random(seed)
        self.fails = lambda method: rng.random() < share

    def make_bucket(self) -> None:
        """Make the bucket."""
        import fsspec

        fsspec.filesystem("s3", endpoint_url=self.url, skip_instance_cache=True).mkdir(BUCKET)
        self.counts.clear()

    def close(self) -> None:
        """Be away."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Server]:
    """A server with an empty bucket; the environment of this process and its children names it."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    pytest.importorskip("flask_cors")
    server = Server()
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url, "NBSP_RAY_SCRATCH": str(tmp_path / "scratch")}.items():
        monkeypatch.setenv(name, value)
    server.make_bucket()
    yield server
    server.close()
    from moto.core.base_backend import BackendDict

    BackendDict.reset()


if __name__ == "__main__":
    os.environ.update(KEYS)
    Server(sys.argv[1], int(sys.argv[2])).make_bucket()
    signal.pause()
