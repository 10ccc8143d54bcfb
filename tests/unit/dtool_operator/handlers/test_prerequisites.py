"""How long and how often the operator asks for what it cannot begin without, and what it says of it."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

import pytest

from dtool_operator.adapters.connection import NotConfigured
from dtool_operator.errors import ApiFailure, Conflict, OperatorError
from dtool_operator.handlers.prerequisites import Prerequisites
from dtool_operator.handlers.watch import PLURALS
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL

SOON = timedelta(seconds=0.01)
FORBIDDEN = ApiFailure("may not", status=403)
AWAY = ApiFailure("away")


class Ready:
    """An API server where nothing is missing."""

    async def list_served_plurals(self) -> frozenset[str]:
        return frozenset({BUCKET_PLURAL, DATASET_PLURAL})

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        return {f"uid of {plural}": "1"}

    async def may_watch(self, plural: str) -> bool:
        return plural in PLURALS


class Preparation:
    """Fails with one error after another, then succeeds; remembers when it was called."""

    def __init__(self, *errors: OperatorError) -> None:
        self._errors = list(errors)
        self.times: list[float] = []

    async def __call__(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        if self._errors:
            raise self._errors.pop(0)


async def test_what_fails_is_tried_again_until_it_succeeds_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    prepare = Preparation(FORBIDDEN, FORBIDDEN, FORBIDDEN, AWAY, AWAY, Conflict("keeps changing"))
    prerequisites = Prerequisites(Ready(), prepare=prepare, first_pause=SOON)

    assert await prerequisites.wait(asyncio.Event())

    assert prerequisites.missing is None
    assert len(prepare.times) == 7
    assert [getattr(record, "why", None) for record in caplog.records] == [
        "rights are missing: may not; `dtool-operator check` tells all that are",
        "away",
        "keeps changing",
    ]


async def test_pauses_grow_while_the_answer_is_the_same() -> None:
    prepare = Preparation(*[FORBIDDEN] * 4, AWAY)

    await Prerequisites(Ready(), prepare=prepare, first_pause=SOON).wait(asyncio.Event())

    pauses = [after - before for before, after in zip(prepare.times, prepare.times[1:], strict=False)]
    for pause, least in zip(pauses, (1, 2, 4, 8, 1), strict=True):
        assert pause >= 0.9 * least * SOON.total_seconds()
    assert pauses[4] < pauses[3]


async def test_a_stop_ends_a_look_that_nobody_answers() -> None:
    stop, asked = asyncio.Event(), asyncio.Event()

    async def ask_for_ever() -> None:
        asked.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(Prerequisites(Ready(), prepare=ask_for_ever).wait(stop))
    await asked.wait()
    stop.set()

    async with asyncio.timeout(1):
        assert not await waiting


async def test_what_only_a_setting_can_mend_is_raised() -> None:
    prepare = Preparation(NotConfigured("nowhere"))

    with pytest.raises(NotConfigured, match="nowhere"):
        await Prerequisites(Ready(), prepare=prepare).wait(asyncio.Event())
