"""Reads large JSON objects member by member, a window at a time: only what is kept takes memory; pure.

For documents of somebody else's that may have hundreds of megabytes: parsed at once, a hostile one takes
twenty times its size. Knows nothing of what the members mean.
"""

import json
from codecs import BOM_UTF8, utf_8_decode
from collections.abc import Collection, Iterator
from json.decoder import WHITESPACE  # type: ignore[attr-defined]  # not in the type's stub
from typing import Any, NoReturn

#: More than any single member has: the longest relpath, every byte of it escaped, is a tenth of it.
WINDOW_BYTES = 128 * 1024

#: So near to the end of a window a number may be the beginning of a longer one: `1` of `1.5` or `1e+5`.
_CUT = 3

_decoder = json.JSONDecoder()


def iterate_members(
    body: bytes, *, inside: Collection[str], window_bytes: int = WINDOW_BYTES
) -> Iterator[tuple[str, str, Any]]:
    """Give the members of an object in UTF-8 as (`""`, name, value), in their order.

    Objects at the names in `inside` are given as empty ones, and then their members as (that name, name,
    value). Raises ValueError for what is no such JSON, and for a value above the window; RecursionError.
    """
    window = _Window(body, window_bytes)
    window.expect("{")
    if window.skip("}"):
        return window.expect_end()
    while True:
        name = window.take_name()
        if name in inside and window.skip("{"):
            yield "", name, {}
            if not window.skip("}"):
                while True:
                    yield name, window.take_name(), window.take_value()
                    if not window.skip(","):
                        break
                window.expect("}")
        else:
            yield "", name, window.take_value()
        if not window.skip(","):
            window.expect("}")
            return window.expect_end()


class _Window:
    """A piece of the text and the place in it that is read next."""

    def __init__(self, body: bytes, size_bytes: int) -> None:
        self._body = body
        self._size_bytes = size_bytes
        #: Where the piece begins, and where what is not decoded yet does.
        self._first_byte = len(BOM_UTF8) if body.startswith(BOM_UTF8) else 0
        self._text = ""
        self._at = 0
        self._move()

    def _move(self) -> None:
        """Let the piece begin at the place that is read next."""
        passed = self._text[: self._at]
        self._first_byte += len(passed) if passed.isascii() else len(passed.encode())
        piece = self._body[self._first_byte : self._first_byte + self._size_bytes]
        self._is_last = self._first_byte + len(piece) == len(self._body)
        # a character may be cut at the end of a piece, but of the last
        self._text, _ = utf_8_decode(piece, "strict", self._is_last)
        self._at = 0

    def _next(self) -> str:
        """Return the next character that is no white space; `""`: there is none."""
        while True:
            self._at = WHITESPACE.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_last:
                return ""
            self._move()

    def skip(self, character: str) -> bool:
        """Pass over a character if it comes next."""
        is_next = self._next() == character
        self._at += is_next
        return is_next

    def expect(self, character: str) -> None:
        """Pass over a character. Raises ValueError where something else comes."""
        if not self.skip(character):
            self._fail(f"no {character!r}")

    def expect_end(self) -> None:
        """Raise ValueError unless nothing follows."""
        if self._next():
            self._fail("more than one value")

    def take_name(self) -> str:
        """Read the name of a member and the colon after it."""
        if self._next() != '"':
            self._fail("no name of a member")
        name = self.take_value()
        self.expect(":")
        return str(name)

    def take_value(self) -> Any:
        """Read any value that fits into a window."""
        self._next()
        try:
            value, end = _decoder.raw_decode(self._text, self._at)
            is_whole = end < len(self._text) - _CUT or self._is_last
        except json.JSONDecodeError as error:
            value, end, is_whole = None, self._at, False
            if self._is_last:
                self._fail(error.msg)
        if not is_whole:
            if not self._at:
                self._fail(f"a value that is no JSON or above {self._size_bytes} bytes")
            self._move()
            return self.take_value()
        self._at = end
        return value

    def _fail(self, why: str) -> NoReturn:
        passed = len(self._text[: self._at].encode())
        raise ValueError(f"{why} at byte {self._first_byte + passed}")
