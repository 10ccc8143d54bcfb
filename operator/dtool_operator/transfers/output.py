"""What a child process writes, line by line and bounded; decides nothing about it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

_READ_BYTES = 64 * 1024
_MAX_TAIL_LINE_BYTES = 4 * 1024
_TAIL_LINES = 40


async def read_lines(stream: asyncio.StreamReader, *, max_bytes: int) -> AsyncIterator[bytes]:
    """Give the complete lines of a stream; a longer one is passed over."""
    rest, is_too_long = b"", False
    while chunk := await stream.read(_READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not is_too_long and len(line) <= max_bytes:
                yield line
            is_too_long = False
        if len(rest) > max_bytes:
            rest, is_too_long = b"", True


class Tail:
    """The last lines of a stream, for the log only."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)

    @property
    def text(self) -> str:
        """The lines so far."""
        return "\n".join(self._lines)

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read to the end of the stream."""
        async for line in read_lines(stream, max_bytes=_MAX_TAIL_LINE_BYTES):
            self._lines.append(line.decode(errors="replace"))
