"""The stage for reconcile tests: an operator on a fake cluster and a memory store."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.play import Play


@pytest_asyncio.fixture
async def play() -> AsyncIterator[Play]:
    """The stage, set; the operator is stopped afterwards."""
    play = await Play.start()
    await play.settle()
    yield play
    await play.stop()
