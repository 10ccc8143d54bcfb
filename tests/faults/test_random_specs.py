"""More than 10,000 random specs, valid and hostile, go through whole operators on fakes.

No look may crash, no object may keep the operator busy, and each ends with a condition unless the API's
schema leaves it out. DTOOL_RANDOM_SEED moves the seeds; a seed says all that happens, but the order of looks.
"""

import logging
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.parsing import InvalidObject
from dtool_operator.errors import ApiFailure
from dtool_operator.logs import FIELDS
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from tests.support.crd import find_faults, with_defaults
from tests.support.datasets import UUID
from tests.support.play import ADMIN_NAMESPACE, ENDPOINT, Play
from tests.support.random_specs import SpecMaker

SPECS = 500
FIRST_SEED = int(os.environ.get("DTOOL_RANDOM_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + 7)

MOST_LOOKS = 40
"""Of one object until all is quiet: what it refers to changes too, and has it looked at again."""

MOST_STATUS_WRITES = 12
PARSERS = {BUCKET_PLURAL: parse_bucket, DATASET_PLURAL: parse_dataset}
NAMESPACES = (ADMIN_NAMESPACE, "alice", "mallory", "bob")
KNOWN = {
    "bucketRef.name": ("lab", "instruments", "bucket-1", "bucket-2"),
    "bucketRef.namespace": (ADMIN_NAMESPACE, "alice"),
    "dataset.name": ("dataset-1", "dataset-2", "dataset-3"),
    "dataset.namespace": NAMESPACES,
    "secretRef.name": ("lab-s3", "instruments-s3"),
    "namespace": NAMESPACES,
    "bucket": ("lab-data", "instrument-data"),
    "endpoint": (ENDPOINT,),
    "uuid": (UUID,),
    "uri": (f"s3://instrument-data/{UUID}", f"s3://lab-data/{UUID}"),
}


class Looks(logging.Handler):
    """Counts looks per object, and keeps what must never be logged."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[tuple[str, str, str]] = Counter()
        self.crashes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.getMessage() == "reconcile_crashed":
            self.crashes.append(self.format(record)[-3000:])
        if record.getMessage() == "reconciled":
            fields = vars(record)[FIELDS]
            self.count[fields["kind"], fields["namespace"], fields["name"]] += 1


@pytest.fixture
def looks() -> Iterator[Looks]:
    """What the operator logs."""
    logger, handler = logging.getLogger("dtool_operator"), Looks()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - it is to be repeated


async def start_play() -> Play:
    play = await Play.start()
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    await play.store_dataset()
    return play


def apply_all(
    play: Play, maker: SpecMaker, rng: random.Random, *, hostile: bool
) -> list[tuple[str, str, str]]:
    """Apply SPECS objects, a fifth of them buckets; return those that the API took."""
    taken = []
    for number in range(SPECS):
        plural = BUCKET_PLURAL if number % 5 == 0 else DATASET_PLURAL
        spec = maker.make_hostile(plural) if hostile else maker.make_valid(plural)
        namespace, name = rng.choice(NAMESPACES), f"{plural.removeprefix('dtool')[:-1]}-{number}"
        try:
            play.cluster.create(plural, namespace, name, spec=spec)
        except (ApiFailure, TypeError, ValueError):  # what is no object at all never gets there
            continue
        taken.append((plural, namespace, name))
    return taken


def check(play: Play, looks: Looks, taken: list[tuple[str, str, str]]) -> None:
    writes = Counter(
        (write.ref.plural, write.ref.namespace, write.ref.name)
        for write in play.cluster.writes
        if write.operation == "apply_status"
    )
    assert not looks.crashes, looks.crashes[0]
    assert max(looks.count.values()) <= MOST_LOOKS, looks.count.most_common(3)
    assert max(writes.values()) <= MOST_STATUS_WRITES, writes.most_common(3)
    for plural, namespace, name in taken:
        status = play.status(namespace, name, plural)
        ready = play.condition(namespace, name, plural=plural)
        assert ready.get("status") in {"True", "False"}, f"{plural} {namespace}/{name}: {status}"
        reasons = {condition["reason"] for condition in status["conditions"]}
        assert "InternalError" not in reasons, f"{plural} {namespace}/{name}: {status['conditions']}"
        assert not find_faults(plural, {"status": status})


@pytest.mark.parametrize("seed", SEEDS)
async def test_specs_that_the_api_takes_end_with_a_condition(seed: int, looks: Looks) -> None:
    rng = seeded(seed)
    play = await start_play()

    taken = apply_all(play, SpecMaker(rng, KNOWN), rng, hostile=False)
    await play.settle(within=120)

    assert len(taken) == SPECS
    check(play, looks, taken)
    await play.stop()


@pytest.mark.parametrize("seed", SEEDS)
async def test_hostile_specs_end_with_a_condition_or_are_left_out_by_the_api(seed: int, looks: Looks) -> None:
    rng = seeded(seed)
    play = await start_play()

    taken = apply_all(play, SpecMaker(rng, KNOWN), rng, hostile=True)
    await play.settle(within=120)

    assert taken
    assert len(taken) < SPECS
    check(play, looks, taken)
    await play.stop()


@pytest.mark.parametrize("seed", SEEDS)
async def test_hostile_specs_that_no_schema_left_out_end_with_a_condition(seed: int, looks: Looks) -> None:
    """As if the CRDs were older or newer than the operator: it must not rely on them."""
    rng = seeded(seed)
    play = await start_play()
    play.cluster._kept._checks_schemas = False

    taken = apply_all(play, SpecMaker(rng, KNOWN), rng, hostile=True)
    await play.settle(within=120)

    check(play, looks, taken)
    await play.stop()


@pytest.mark.parametrize("plural", [BUCKET_PLURAL, DATASET_PLURAL])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_models_take_what_the_schemas_and_their_rules_take(seed: int, plural: str) -> None:
    maker = SpecMaker(seeded(seed), KNOWN)

    for _ in range(SPECS):
        body = with_defaults(plural, {"spec": maker.make_valid(plural)})

        assert not find_faults(plural, body)
        message = find_fault(plural, body["spec"])
        assert message is None or "host" in message, message


@pytest.mark.parametrize("plural", [BUCKET_PLURAL, DATASET_PLURAL])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_models_say_of_anything_else_what_is_wrong(seed: int, plural: str) -> None:
    maker = SpecMaker(seeded(seed), KNOWN)

    for _ in range(SPECS):
        message = find_fault(plural, maker.make_hostile(plural))

        assert message is None or message.startswith("spec")
        assert len(message or "") <= 1024


def find_fault(plural: str, spec: Any) -> str | None:
    try:
        PARSERS[plural]({"metadata": METADATA, "spec": spec})
    except InvalidObject as error:
        return error.message
    return None


METADATA: Mapping[str, Any] = {
    "name": "one",
    "namespace": "alice",
    "uid": "c0ffee00-0000-4000-8000-000000000001",
    "creationTimestamp": "2026-01-01T00:00:00Z",
}
