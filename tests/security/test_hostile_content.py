"""Manifests, READMEs and other objects that somebody made to harm whoever reads them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dtool_s3.documents import (
    MAX_ADMIN_METADATA_BYTES,
    MAX_README_BYTES,
    MAX_REGISTRATION_BYTES,
    parse_manifest,
)
from dtool_s3.errors import InvalidManifest, UnsafePath
from dtool_s3.layout import item_identifier
from dtool_s3.ownership import MAX_OWNER_BYTES, owner_key
from tests.support.datasets import UUID
from tests.support.play import Play

PROJECT = Path(__file__).parents[2]
SOURCE = {"uri": f"s3://instrument-data/{UUID}"}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20)
)


def manifest(relpath: str = "a.txt", *, identifier: str | None = None, **fields: Any) -> bytes:
    item = {"relpath": relpath, "size_in_bytes": 1, "hash": "0" * 32, "utc_timestamp": 0.0, **fields}
    name = item_identifier(relpath) if identifier is None else identifier
    return json.dumps({"hash_function": "md5sum_hexdigest", "items": {name: item}}).encode()


UNSAFE = ["../x", "a/../../x", "/etc/passwd", "", "a\x00b", "..", "x/..", "a" * 5000]
INVALID: dict[str, bytes] = {
    "negative size": manifest(size_in_bytes=-1),
    "size as text": manifest(size_in_bytes="1"),
    "size as truth": manifest(size_in_bytes=True),
    "size NaN": manifest(size_in_bytes=float("nan")),
    "size infinite": manifest(size_in_bytes=float("inf")),
    "size as fraction": manifest(size_in_bytes=1.5),
    "time NaN": manifest(utc_timestamp=float("nan")),
    "time beyond floats": manifest().replace(b"0.0", b"1" + b"0" * 400),
    "hash that is a path": manifest(hash="../../../etc/passwd"),
    "hash that is none": manifest(hash=""),
    "an identifier that is a path": manifest(identifier="../../u/bob/x"),
    "an identifier of another item": manifest(identifier=item_identifier("b.txt")),
    "deep JSON": b"[" * 100_000,
    "deep items": b'{"hash_function": "md5sum_hexdigest", "items": ' + b'{"a":' * 100_000,
    "many small values": b"[" + b"[]," * 3_000_000 + b"[]]",
    "items as a list": b'{"hash_function": "md5sum_hexdigest", "items": []}',
    "no JSON": b"\xff\xfe",
}


@pytest.mark.parametrize("relpath", UNSAFE)
def test_a_relpath_that_leaves_the_dataset_is_refused(relpath: str) -> None:
    with pytest.raises(UnsafePath):
        parse_manifest(manifest(relpath))


@pytest.mark.parametrize("case", INVALID)
def test_a_manifest_that_means_nothing_is_refused(case: str) -> None:
    with pytest.raises(InvalidManifest):
        parse_manifest(INVALID[case])


def test_of_duplicates_one_counts_and_it_is_checked() -> None:
    good, bad = manifest("a.txt"), manifest("a.txt", size_in_bytes=-1)
    items = [json.dumps(json.loads(one)["items"])[1:-1] for one in (good, bad)]
    body = f'{{"hash_function": "md5sum_hexdigest", "items": {{{", ".join(items)}}}}}'

    with pytest.raises(InvalidManifest):
        parse_manifest(body.encode())


@pytest.mark.parametrize("case", ["deep JSON", "size NaN", "an identifier that is a path"])
async def test_a_copy_of_a_hostile_manifest_ends_in_a_condition(play: Play, case: str) -> None:
    await play.store_dataset(manifest_body=INVALID[case])

    play.dataset("alice", "mine", source=SOURCE)
    await play.settle()

    assert play.condition("alice", "mine")["reason"] == "InvalidManifest"
    assert play.status("alice", "mine")["state"] == "Failed"


#: Key of the giant, its size, and what the dataset says.
GIANTS = {
    "registration key": (f"dtool-{UUID}", MAX_REGISTRATION_BYTES, "InvalidAdminMetadata"),
    "owner marker": (owner_key("u/alice/"), MAX_OWNER_BYTES, "PrefixOwnedByOther"),
    "dtool": (f"u/alice/{UUID}/dtool", MAX_ADMIN_METADATA_BYTES, "InvalidAdminMetadata"),
}


@pytest.mark.parametrize("case", GIANTS)
async def test_a_giant_where_a_small_document_should_be_is_not_read(play: Play, case: str) -> None:
    """One byte too much is as good as a gigabyte: the bound is compared before a byte of the body is read."""
    key, limit_bytes, reason = GIANTS[case]
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.server.write("lab-data", key, b"x" * (limit_bytes + 1))

    play.dataset("alice", "mine", uuid=UUID)
    await play.settle()

    assert play.condition("alice", "mine")["reason"] == reason
    assert play.condition("dtool-system", "lab", plural="dtoolbuckets")["status"] == "True"


async def test_a_giant_readme_is_refused_where_it_is_read_and_compared_by_its_size(play: Play) -> None:
    await play.store_dataset("lab-data", prefix="u/alice/")
    play.server.write("lab-data", f"u/alice/{UUID}/README.yml", b"x" * (MAX_README_BYTES + 1))
    play.server.requests.clear()

    play.dataset("alice", "mine", uuid=UUID, readme="small: true\n")
    await play.settle()

    asked = [(r.operation, r.key) for r in play.server.requests if r.key.endswith("README.yml")]
    assert ("get", f"u/alice/{UUID}/README.yml") not in asked
    assert play.condition("alice", "mine", "MetadataSynced")["status"] == "True"


async def test_a_yaml_bomb_in_a_readme_is_copied_byte_by_byte_and_never_parsed(play: Play) -> None:
    await play.store_dataset(readme=BOMB)

    play.dataset("alice", "mine", source=SOURCE)
    play.dataset("alice", "own", readme=BOMB)
    await play.settle()

    assert play.status("alice", "mine")["state"] == "Frozen"
    assert play.server.read("lab-data", f"u/alice/{UUID}/README.yml").body == BOMB.encode()
    own = play.status("alice", "own")["uuid"]
    assert play.server.read("lab-data", f"u/alice/{own}/README.yml").body == BOMB.encode()


def test_no_code_of_the_product_reads_yaml_but_an_administrators() -> None:
    """What a README means is its readers' business."""
    modules = [*(PROJECT / "dtool_s3").rglob("*.py"), *(PROJECT / "operator").rglob("*.py")]
    users = re.compile(r"^\s*(import|from)\s+(yaml|ruamel|strictyaml|oyaml)\b", re.MULTILINE)
    writes_only = re.compile(r"\byaml\.safe_dump\(")

    assert len(modules) > 100
    found = {path.name: path.read_text() for path in modules if users.search(path.read_text())}
    readers = {name for name, text in found.items() if "load" in writes_only.sub("", text)}
    assert readers == {"connection.py", "worker_pod.py"}, "the kubeconfig, and what Pods of workers are"
    assert found.keys() - readers == {"output.py"}, "`-o yaml`"
