"""The page of near-duplicates served on loopback, so that what is judged on it is kept at once.

Whoever has the address, which holds a token, may read and judge. A request under another host name
(a rebound DNS name) is refused, and one that writes from a page of another origin.
"""

import hmac
import json
import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from pipeline.core.errors import SluiceError

HOST = "127.0.0.1"
OURS = {"127.0.0.1", "localhost"}  # also of a tunnel's other end
LONGEST = 4096  # bytes of a verdict


@dataclass(frozen=True)
class Review:
    """What is served: a page, the pictures it asks for, and what becomes of a verdict."""

    page: bytes
    picture: Callable[[int], bytes]  # an image's id: a JPEG; raises KeyError where it is not shown
    # two ids and whether they are duplicates, None: taken back; returns how many are kept.
    # Raises KeyError where an image is not shown.
    judge: Callable[[int, int, bool | None], int]
    verdicts: Callable[[], list[tuple[str, str, bool]]]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    turn: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)  # open connections outlive it


def serve_review(review: Review, told: Callable[[str], None]) -> None:
    """Serve ``review`` on a free port of this machine until the page says that it is done.

    told: hears the address once it is served.
    """
    with _Server((HOST, 0), partial(_Handler, review)) as server:
        told(f"http://{HOST}:{server.server_port}/{review.token}/")
        server.serve_forever(poll_interval=0.1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out what a browser that has gone away brings: it is no failure of the job."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ThreadingHTTPServer

    def __init__(self, review: Review, *args: Any) -> None:
        self.review = review
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the job's."""

    def do_GET(self) -> None:
        name = self._asked()
        if name is None:
            return
        if name == "":
            self._answer(HTTPStatus.OK, self.review.page, "text/html; charset=utf-8")
        elif name == "verdicts":
            self._answer(HTTPStatus.OK, json.dumps(self.review.verdicts()).encode())
        elif name.startswith("picture/"):
            self._picture(name.removeprefix("picture/"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such thing here")

    def do_POST(self) -> None:
        name = self._asked()
        if name is None:
            return
        if self.headers["Origin"] != f"http://{self.headers['Host']}":
            self._refuse(HTTPStatus.FORBIDDEN, "only the page itself may write")
        elif self.review.over.is_set():
            self._refuse(HTTPStatus.GONE, "sluice has gone on; run it with --review again")
        elif name == "verdicts":
            self._judge()
        elif name == "done":
            with self.review.turn:
                self.review.over.set()
            self._answer(HTTPStatus.OK, b"true")
            threading.Thread(target=self.server.shutdown).start()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such thing here")

    def _asked(self) -> str | None:
        """Return what is asked for below the token; None where the request was refused."""
        host = urlsplit(f"//{self.headers['Host']}").hostname
        token, _, name = self.path.removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode(), self.review.token.encode())
        if host in OURS and known:
            return name
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that sluice has printed")
        return None

    def _picture(self, text: str) -> None:
        try:
            with self.review.turn:
                picture = self.review.picture(int(text))
        except (KeyError, ValueError):
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such image on the page")
        except (SluiceError, OSError) as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))
        else:
            self._answer(HTTPStatus.OK, picture, "image/jpeg")

    def _judge(self) -> None:
        try:
            said = json.loads(self._body())
            duplicate = said["duplicate"]
            if duplicate is not None and not isinstance(duplicate, bool):
                raise ValueError("duplicate must be true, false or null")
            with self.review.turn:
                if self.review.over.is_set():
                    raise ValueError("sluice has gone on")
                kept = self.review.judge(int(said["a"]), int(said["b"]), duplicate)
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(
                HTTPStatus.BAD_REQUEST, f"this is no verdict on the page's images: {error}"
            )
        except (SluiceError, OSError) as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._answer(HTTPStatus.OK, json.dumps(kept).encode())

    def _body(self) -> bytes:
        length = int(self.headers["Content-Length"] or 0)
        if not 0 < length <= LONGEST:
            self.close_connection = True
            raise ValueError("it is empty or too long")
        return self.rfile.read(length)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # a body may be left unread
        self._answer(status, why.encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, data: bytes, kind: str = "application/json") -> None:
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.end_headers()
            self.wfile.write(data)
