"""Views of memory as bodies: read for a signature, then sent as they are."""

import array
import hashlib
import io
from typing import Any

import pytest

from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.boto.client import build_client, open_session
from dtool_s3.store.boto.wire import ViewBody, sendable


def test_bytes_are_sent_as_they_are() -> None:
    body = b"content"

    assert sendable(body) is body


def test_a_view_reads_like_a_file_and_is_never_copied() -> None:
    whole = bytearray(b"0123456789")
    body = sendable(memoryview(whole)[2:9])
    assert isinstance(body, ViewBody)

    assert (len(body), bytes(body.read(3)), body.tell()) == (7, b"234", 3)
    assert [bytes(body.read(size)) for size in (-1, -1, 5)] == [b"5678", b"", b""]
    assert (body.seek(0), body.seek(-2, io.SEEK_END), body.seek(1, io.SEEK_CUR)) == (0, 5, 6)
    whole[2] = ord("x")
    assert bytes(body.view[:1]) == b"x"


def test_a_view_of_numbers_is_sent_as_bytes() -> None:
    numbers = array.array("I", range(100))
    body = sendable(memoryview(numbers))
    assert isinstance(body, ViewBody)

    assert len(body) == 400
    assert hashlib.sha256(body.read()).digest() == hashlib.sha256(numbers.tobytes()).digest()


class Stopped(Exception):
    """Raised in place of sending."""


def test_a_view_goes_to_the_socket_itself_without_waiting_for_a_go_ahead() -> None:
    endpoint = Endpoint("https://s3.example.org", "us-east-1")
    keys = Credentials("AKIA", Secret("secret"))
    client = build_client(open_session(endpoint), endpoint, keys, max_connections=1, read_timeout_seconds=1)
    view = memoryview(b"content")

    def stop(request: Any, **_: object) -> None:
        raise Stopped(request)

    client.meta.events.register_last("before-send.s3", stop)
    with pytest.raises(Stopped) as caught:
        client.put_object(Bucket="lab", Key="key", Body=sendable(view), ContentMD5="x")

    (request,) = caught.value.args
    assert request.body is view
    assert "Expect" not in request.headers
    assert request.headers["Content-Length"] == "7"


def test_large_bytes_are_sent_as_a_view_and_small_ones_as_they_are() -> None:
    small, large = b"a" * 1024**2, b"a" * (1024**2 + 1)

    sent = sendable(large)

    assert sendable(small) is small
    assert isinstance(sent, ViewBody)
    assert sent.view.obj is large
