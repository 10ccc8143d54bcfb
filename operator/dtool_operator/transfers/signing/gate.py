"""Who may be connected to the endpoint: bounds how many are, in all and of one address, and their silence.

Below HTTP: what a connection says is the server's. One Pod has one address, so that no Pod takes all.
"""

import asyncio
import weakref
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

#: Connections that are open at a time; more are closed at once. A worker keeps one or two.
MAX_CONNECTIONS: Final = 512
#: Of one address: an eighth of all. Behind a gateway many workers may have one.
_SHARE: Final = 8
_LEAST: Final = 8
#: How long a connection may stay that has not asked anything.
_SILENT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Gate:
    """Lets connections in to a server; `note_question` tells that one has asked."""

    server: web.Server
    max_connections: int = MAX_CONNECTIONS
    silent_seconds: float = _SILENT_SECONDS
    _asked: "weakref.WeakSet[asyncio.BaseTransport]" = field(default_factory=weakref.WeakSet)

    def accept(self) -> asyncio.Protocol:
        """Return what receives a new connection: a factory for `create_server`."""
        return _Entrance(self)

    def note_question(self, transport: asyncio.BaseTransport | None) -> None:
        """Take in that a whole question arrived: its connection may stay."""
        if transport is not None:
            self._asked.add(transport)

    def admit(self, transport: asyncio.Transport) -> bool:
        """Let a connection in, or close it; tell which."""
        open_now = [one.transport for one in self.server.connections if one.transport is not None]
        address = _address(transport)
        of_one = sum(_address(one) == address for one in open_now)
        most_of_one = max(_LEAST, self.max_connections // _SHARE)
        if len(open_now) >= self.max_connections or of_one >= most_of_one:
            transport.close()
            return False
        asyncio.get_running_loop().call_later(self.silent_seconds, self._close_silent, transport)
        return True

    def _close_silent(self, transport: asyncio.Transport) -> None:
        if transport not in self._asked:
            transport.abort()


class _Entrance(asyncio.Protocol):
    """Hands a connection on to HTTP once it is admitted."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit it or not."""
        assert isinstance(transport, asyncio.Transport)
        if self._gate.admit(transport):
            handler = self._gate.server()
            transport.set_protocol(handler)
            handler.connection_made(transport)


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""
