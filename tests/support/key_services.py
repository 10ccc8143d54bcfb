"""The services that AWS's credential chain asks, on loopback: a container's endpoint and STS.

Own their threads and sockets. They give the keys of real identities, as told, with an end of validity.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from sandbox.identity import Identity

#: Gives the keys that a service hands out next.
NextKeys = Callable[[], Identity]

_STS_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken></SessionToken><Expiration>{end}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@contextmanager
def container_service(next_keys: NextKeys, lifetime: timedelta = timedelta(hours=6)) -> Iterator[str]:
    """Run what AWS_CONTAINER_CREDENTIALS_FULL_URI points to; gives the URL."""

    def answer(_: str) -> str:
        keys = next_keys()
        told = {
            "AccessKeyId": keys.access_key,
            "SecretAccessKey": keys.secret_key,
            "Token": "",
            "Expiration": _end(lifetime),
        }
        return json.dumps(told)

    with _running(answer, "application/json") as url:
        yield url


@contextmanager
def web_identity_service(next_keys: NextKeys, token: str) -> Iterator[str]:
    """Run an STS that gives keys for `token`; gives the URL."""

    def answer(body: str) -> str:
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        assert asked["Action"] == "AssumeRoleWithWebIdentity"
        assert asked["WebIdentityToken"] == token
        keys = next_keys()
        return _STS_ANSWER.format(key=keys.access_key, secret=keys.secret_key, end=_end(timedelta(hours=6)))

    with _running(answer, "text/xml") as url:
        yield url


def _end(lifetime: timedelta) -> str:
    return (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _running(answer: Callable[[str], str], content_type: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            told = answer(asked).encode()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/keys"
        finally:
            server.shutdown()
            thread.join()
