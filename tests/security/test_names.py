"""Names and texts of others are text: in conditions, Events, logs and metrics (rule 20)."""

import io
import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dtool_operator.logs import JsonFormatter
from dtool_operator.metrics import Metrics
from dtool_s3.documents import dump_admin_metadata
from tests.support.datasets import UUID, DatasetFixture
from tests.support.play import Play

HOSTILE = [
    'x\r\n{"event": "forged"}',
    "x\x1b[2J\x1b[31mred",
    "\u202egnp.exe\u2066\u061c",
    'x"} 1\ndtool_operator_leading{a="b',
    "\u2028next\u0085line",
    "a\u200bb\U000e0041\ufeff",
    "\ud800",
    "${jndi:ldap://x}",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_ends_a_line_of_the_log_or_turns_it_around(text: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("attacked")
    log.addHandler(handler)
    try:
        log.warning("event", extra={"object": text, "why": [text], text[:50]: "key"})
    finally:
        log.removeHandler(handler)

    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    assert len(line) < 20_000
    assert json.loads(line)["event"] == "event"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_makes_a_metric_or_breaks_one(text: str) -> None:
    metrics = Metrics()
    metrics.observe_requests(text, text, text)
    metrics.observe_reconcile(text, f"{text}: {text}", 0.1)
    metrics.observe_left_behind(text)

    shown = metrics.show()[1].decode()

    names = {family.name for family in text_string_to_metric_families(shown)}
    assert all(name.startswith("dtool_operator_") for name in names)
    assert {"dtool_operator_leading"} <= names
    assert "\r" not in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 1000


def test_names_that_users_write_down_take_no_label_of_a_bucket_that_exists() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.observe_left_behind(f"mallory/nothing-{number}")

    metrics.observe_requests("dtool-system/lab", "GetObject", "ok")

    assert 'bucket="dtool-system/lab"' in metrics.show()[1].decode()


@pytest.mark.parametrize("text", [one for one in HOSTILE if one != "\ud800"])
async def test_a_name_in_a_bucket_is_a_short_line_in_status_and_events(play: Play, text: str) -> None:
    """The administrative metadata of a dataset hold whatever somebody with S3 keys wrote there."""
    await play.store_dataset("lab-data", prefix="u/alice/")
    admin = DatasetFixture(prefix="u/alice/").admin() | {
        "name": text[:40_000],
        "creator_username": text[:20_000],
    }
    body, _ = dump_admin_metadata(admin)
    play.server.write("lab-data", f"u/alice/{UUID}/dtool", body)

    play.dataset("alice", "mine", uuid=UUID)
    await play.settle()

    shown = json.dumps(play.status("alice", "mine"), ensure_ascii=False)
    assert shown.isprintable()
    assert len(shown) < 8_000
    for event in play.cluster.events:
        assert event.message.isprintable()
        assert len(event.message) <= 1024
