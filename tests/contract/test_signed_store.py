"""The store by signed URLs keeps the promises of the Store protocol: its suite, over SeaweedFS.

What a task may do is left out here, every key is granted; `tests/security/test_signing.py` has that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_operator.planning.task import TaskKind
from dtool_operator.transfers.signing import answering, grants
from dtool_operator.transfers.signing.grant import Permit, Scope, _body_headers
from dtool_operator.transfers.signing.signed_store import SignedStore
from dtool_operator.transfers.signing.wire import ListAsked, PartAsked, PutAsked, ReadAsked, UrlAsked
from dtool_s3.errors import NotSupported
from dtool_s3.store.protocol import Store, UrlRequest
from tests.contract.test_store import (  # noqa: F401 - the suite, collected again with the store of this module
    ODD_NAMES,
    test_a_conditional_delete_deletes_and_may_be_repeated,
    test_a_create_over_something_is_refused,
    test_a_delete_of_another_state_than_the_expected_is_refused,
    test_a_delimiter_gathers_what_lies_deeper,
    test_a_limit_bounds_keys_and_common_prefixes_together,
    test_a_listing_goes_on_past_a_thousand_keys,
    test_a_listing_has_the_keys_that_start_with_the_prefix_in_order,
    test_a_listing_says_whether_its_limit_left_something_out,
    test_a_part_that_was_never_uploaded_cannot_be_completed,
    test_a_stream_gives_all_bytes_in_chunks_of_at_most_1_mib,
    test_a_stream_may_be_left_early,
    test_a_write_over_another_state_than_the_expected_is_refused,
    test_an_empty_object_is_an_object,
    test_an_object_above_the_limit_is_refused,
    test_an_object_is_read_back_as_it_was_put,
    test_an_upload_in_parts_becomes_one_object,
    test_deleting_is_final_and_may_be_repeated,
    test_keys_that_nobody_wants_are_not_given_and_count_for_the_limit,
    test_metadata_that_is_not_ascii_is_refused,
    test_unfinished_uploads_are_listed_and_can_be_given_up,
    test_what_is_not_there_is_not_found,
)
from tests.contract.test_store_parts import (  # noqa: F401 - as above
    test_a_part_with_another_md5_than_the_given_is_refused,
    test_a_range_beyond_the_end_is_refused,
    test_a_range_has_just_its_bytes,
    test_a_range_of_an_object_that_changed_is_refused,
    test_an_object_put_in_one_piece_has_no_parts,
    test_the_parts_of_an_object_are_told,
    test_views_of_memory_are_written_as_they_are,
)
from tests.support.signing import build_credentials, build_location, build_task, running_endpoint

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore


def permit_everything(scope: Scope, asked: UrlAsked) -> Permit:
    match asked:
        case ReadAsked():
            return Permit(UrlRequest(asked.do.upper(), asked.key))
        case ListAsked():
            query = {"list-type": "2", "encoding-type": "url", "prefix": asked.prefix}
            query |= {"max-keys": str(asked.limit), "delimiter": asked.delimiter}
            query |= {} if asked.token is None else {"continuation-token": asked.token}
            return Permit(UrlRequest("GET", "", {k: v for k, v in query.items() if v or k == "prefix"}))
        case PutAsked():
            headers = _body_headers(asked.size_bytes, asked.md5)
            headers |= {f"x-amz-meta-{name}": value for name, value in asked.metadata.items()}
            headers |= {"If-None-Match": "*"} if asked.if_absent else {}
            headers |= {} if asked.if_match is None else {"If-Match": f'"{asked.if_match}"'}
            return Permit(UrlRequest("PUT", asked.key, headers=headers))
        case PartAsked():
            query = {"partNumber": str(asked.number), "uploadId": asked.upload_id}
            return Permit(UrlRequest("PUT", asked.key, query, _body_headers(asked.size_bytes, asked.md5)))


@pytest.fixture
async def store(
    object_store: ObjectStore, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SignedStore]:
    """A fresh bucket, every key of which may be asked for."""

    async def is_proto(*_: object) -> None:
        return None

    monkeypatch.setattr(answering, "permit_url", permit_everything)
    monkeypatch.setattr(answering, "check_call", lambda *_: None)
    for module in (answering, grants):
        monkeypatch.setattr(module, "require_proto", is_proto)
    keys = object_store.identity("admin")
    task = build_task(TaskKind.UPLOAD, build_location(object_store.endpoint, bucket_name))
    async with running_endpoint(tmp_path) as endpoint:
        await endpoint.give(task, build_credentials(keys.access_key, keys.secret_key))
        yield endpoint.open(task)


def test_an_implementation_fulfils_the_protocol(store: Store) -> None:
    assert isinstance(store, Store)


async def test_a_bucket_is_named_as_the_task_names_it(store: Store, object_store: ObjectStore) -> None:
    assert store.endpoint_url == object_store.endpoint


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_keys_survive_what_a_task_does(store: Store, name: str) -> None:
    key = f"odd/{name}"

    await store.put(key, b"x", metadata={"handle": "aGk="})

    assert (await store.get(key, max_bytes=1)).body == b"x"
    assert (await store.head(key)).metadata == {"handle": "aGk="}
    assert [listed.key for listed in (await store.list("odd/")).objects] == [key]
    await store.delete(key)
    assert (await store.list("")).objects == ()


async def test_what_no_task_needs_is_not_supported(store: Store) -> None:
    await store.put("key", b"")
    source = (await store.list("")).objects[0]
    upload = await store.start_upload("large", {})

    for request in (
        store.check_bucket(),
        store.copy(store.bucket, source, "other"),
        store.copy_many(store.bucket, [(source, "other")]),
        store.copy_part(upload, 1, store.bucket, source, first_byte=0, size_bytes=1),
        store.delete_many(["key"]),
        store.list("", delimiter="b"),
    ):
        with pytest.raises(NotSupported):
            await request

    await store.abort_upload(upload)
