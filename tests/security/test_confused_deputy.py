"""Nobody makes the operator read or write with its keys what is another namespace's (rules 3, 4 and 12)."""

from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL
from dtool_s3.ownership import Owner, dump_owner, owner_key
from tests.support.datasets import UUID
from tests.support.play import ADMIN_NAMESPACE, ADMITTED, Play

BOB = "u/bob/"
ARCHIVE = {"name": "archive", "namespace": ADMIN_NAMESPACE}
SECRET_BYTES = b"alpha"

#: Every way to name a dataset of `u/bob/` in the bucket lab-data.
SOURCES: dict[str, dict[str, Any]] = {
    "uri": {"uri": f"s3://lab-data/{UUID}"},
    "stored": {"stored": {"bucketRef": {"name": "lab", "namespace": ADMIN_NAMESPACE}, "uuid": UUID}},
    "dataset": {"dataset": {"name": "raw", "namespace": "bob"}},
    "objects": {
        "objects": {
            "bucketRef": {"name": "lab", "namespace": ADMIN_NAMESPACE},
            "prefix": f"{BOB}{UUID}/data/",
        }
    },
}


def archive(play: Play, **spec: Any) -> None:
    """Let the administrator have a second bucket, where alice may write, with the same keys as the first."""
    play.server.create_bucket("archive-data")
    keys = {"secretRef": {"name": "lab-s3"}}
    play.bucket("archive", bucket="archive-data", allowedNamespaces=ADMITTED, credentials=keys, **spec)


async def bob_keeps_a_dataset(play: Play, prefix: str = BOB) -> None:
    """Bob is admitted, and keeps a frozen dataset."""
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    await play.store_dataset("lab-data", prefix=prefix)
    play.dataset("bob", "raw", uuid=UUID)
    await play.settle()


def taken(play: Play, bucket: str = "archive-data", prefix: str = "u/alice/") -> list[str]:
    """Return what lies below alice's prefix beside her owner marker."""
    return [k for k in play.server.keys(bucket) if k.startswith(prefix) and k != owner_key(prefix)]


@pytest.mark.parametrize("kind", SOURCES)
async def test_anothers_dataset_is_not_read_however_it_is_named(play: Play, kind: str) -> None:
    await bob_keeps_a_dataset(play)
    assert play.status("bob", "raw")["state"] == "Frozen"
    archive(play)
    await play.settle()

    play.dataset("alice", "mine", bucketRef=ARCHIVE, source=SOURCES[kind])
    await play.settle()

    reason = play.condition("alice", "mine")["reason"]
    assert reason in {"SourceNotAllowed", "SourceDatasetNotFound"}
    assert taken(play) == []


@pytest.mark.parametrize("kind", ["uri", "stored", "objects"])
async def test_a_prefix_that_an_override_gives_away_is_not_its_namesakes_to_read(
    play: Play, kind: str
) -> None:
    """Chem has alice's derived prefix by an override: what lies there is chem's."""
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.cluster.create_namespace("chem", {"dtool.dev/lab": "true"})
    overrides = [{"namespace": "chem", "prefix": "u/alice/"}]
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", prefixOverrides=overrides)
    archive(play)
    await play.settle()
    objects = {"objects": {**SOURCES["objects"]["objects"], "prefix": f"u/alice/{UUID}/data/"}}

    play.dataset("alice", "mine", bucketRef=ARCHIVE, source=objects if kind == "objects" else SOURCES[kind])
    await play.settle()

    assert play.condition("alice", "mine")["reason"] == "SourceNotAllowed"
    assert taken(play) == []


@pytest.mark.parametrize("kind", ["uri", "stored", "objects"])
async def test_a_namespace_that_was_created_again_does_not_read_what_its_namesake_left(
    play: Play, kind: str
) -> None:
    """The name is the same, the team is not: the owner marker says whose the prefix is."""
    await play.store_dataset("lab-data", prefix="u/alice/")
    former = Owner("the-cluster", "the-former-alice", "alice", "u/alice/")
    play.server.write("lab-data", owner_key("u/alice/"), dump_owner(former))
    archive(play)
    await play.settle()
    objects = {"objects": {**SOURCES["objects"]["objects"], "prefix": f"u/alice/{UUID}/data/"}}

    play.dataset("alice", "mine", bucketRef=ARCHIVE, source=objects if kind == "objects" else SOURCES[kind])
    await play.settle()

    assert play.condition("alice", "mine")["reason"] == "PrefixOwnedByOther"
    assert taken(play) == []


async def test_a_source_that_an_object_describes_is_not_replaced_by_a_hijacked_registration_key(
    play: Play,
) -> None:
    """Alice asks for bob's dataset; somebody with S3 keys lets the registration key name his own."""
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", readAccess="Bucket")
    await bob_keeps_a_dataset(play)
    archive(play)
    await play.settle()
    await play.store_dataset("lab-data", prefix="u/mallory/", items={"a.txt": b"poison"})

    play.dataset("alice", "mine", bucketRef=ARCHIVE, source=SOURCES["dataset"])
    await play.settle()

    assert play.condition("alice", "mine")["reason"] == "RegistrationHijacked"
    assert taken(play) == []
