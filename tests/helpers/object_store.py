"""A real S3 server on loopback, which can be made to fail."""

import logging
import os
import random
import threading
from contextlib import contextmanager
from time import sleep

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SECRET = "a-secret-that-no-message-holds"
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


class Faulty:
    """A WSGI application that passes requests on to moto, one after the other, or fails.

    One after the other, as its conditions on puts are not checked and acted on in one step. A share
    ``faults`` of the requests to what is in the bucket is answered by 503, before or after it was
    done, or cut in the middle; every answer waits for ``latency`` seconds. ``requests`` counts them
    by method, a listing as LIST; ``bytes`` what went to and fro; ``most`` how many there were at
    once.
    """

    def __init__(self):
        self.app = DomainDispatcherApplication(create_backend_app)
        self.one, self.random = threading.Lock(), random.Random(7)
        self.faults, self.latency, self.requests, self.failed = 0.0, 0.0, {}, 0
        self.bytes, self.answer = 0, ("", [])
        self.in_hand, self.most = 0, 0

    def __call__(self, environ, start):
        self.in_hand += 1
        self.most = max(self.most, self.in_hand)
        try:
            return self._answered(environ, start)
        finally:
            self.in_hand -= 1

    def _answered(self, environ, start):
        listing = "list-type" in environ.get("QUERY_STRING", "")
        method = "LIST" if listing else environ["REQUEST_METHOD"]
        sleep(self.latency)
        with self.one:
            self.requests[method] = self.requests.get(method, 0) + 1
            failing = self.random.random() < self.faults
            self.failed += failing
            kind = self.random.choice(("refused", "lost", "cut")) if failing else None
            body = b"" if kind == "refused" else b"".join(self.app(environ, self._kept))
            answer = self.answer
        self.bytes += len(body) + int(environ.get("CONTENT_LENGTH") or 0)
        if kind in ("refused", "lost"):
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        start(*answer)
        return self._cut(body) if kind == "cut" else [body]

    def _kept(self, status, headers, *_):
        self.answer = status, headers

    def _cut(self, body):
        yield body[: len(body) // 2]
        raise ConnectionError("cut")


class OneServer:
    """The server, its bucket, and what it is asked."""

    def __init__(self, address):
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.asked = Faulty()
        self.server = make_server(address, 0, self.asked, threaded=True)
        self.url = f"http://{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.client = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="tests", aws_secret_access_key=SECRET
        )
        self.client.create_bucket(Bucket="bucket")

    @contextmanager
    def failing(self, share):
        self.asked.faults, before = share, self.asked.failed
        yield
        self.asked.faults = 0.0
        assert self.asked.failed > before


@contextmanager
def object_store(address="127.0.0.1"):
    """Yield the server; the environment of the block leads there."""
    from pipeline.core import objects

    server = OneServer(address)
    before, named = dict(os.environ), KEYS | {"AWS_ENDPOINT_URL": server.url}
    os.environ.update(named)
    objects._bucket.cache_clear()
    yield server
    os.environ.clear()
    os.environ.update(before)
    objects._bucket.cache_clear()
    server.server.shutdown()


def objects_below(folder):
    """Every object below an ObjectPath by its name there, but the lease and the times of a run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path, _ in folder.below()
        if path.name not in ("run.json", ".lease")
    }
