"""HTTP/1.1 messages as bytes, read whole from a socket's file: for proxies that pass them on unchanged."""

import re
from typing import Any

_STATUS = re.compile(rb"\AHTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


def read_head(reader: Any) -> bytes:
    """Read start line and headers, the blank line included; what there is where the connection ends."""
    lines = []
    while line := reader.readline():
        lines.append(line)
        if line == b"\r\n":
            break
    return b"".join(lines)


def read_body(reader: Any, head: bytes, *, if_open: bool) -> bytes:
    """Read a message's body as it was framed; `if_open`: without a frame it ends with the connection."""
    if _CHUNKED.search(head):
        return _read_chunks(reader)
    if length := _LENGTH.search(head):
        return bytes(reader.read(int(length[1])))
    return bytes(reader.read()) if if_open else b""


def _read_chunks(reader: Any) -> bytes:
    parts = []
    while True:
        size = reader.readline()
        parts.append(size)
        count = int(size.split(b";")[0], 16)
        if count == 0:
            return b"".join(parts) + read_head(reader)
        parts.append(reader.read(count + 2))


def read_answer(reader: Any, method: str) -> bytes:
    """Read a whole answer to a request with this method; interim ones (1xx) are passed over."""
    head = read_head(reader)
    status = _STATUS.match(head)
    if status is None:
        return head
    number = int(status[1])
    if number < 200:
        return read_answer(reader, method)
    if method == "HEAD" or number in {204, 304}:
        return head
    return head + read_body(reader, head, if_open=True)
