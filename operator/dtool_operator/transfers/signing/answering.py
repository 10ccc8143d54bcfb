"""What the endpoint answers to a Job that has a grant: signed URLs, and small things done in its place.

Every request passes `grant` first. No byte of an item passes here.
"""

from collections.abc import Sequence
from typing import assert_never

from dtool_operator.transfers.signing.grant import Permit, check_call, permit_url
from dtool_operator.transfers.signing.grants import Grant, require_proto
from dtool_operator.transfers.signing.wire import (
    AbortUpload,
    Call,
    CallAnswer,
    CompleteUpload,
    DeleteItem,
    Greeting,
    ListUploads,
    PartSizes,
    Refusal,
    StartUpload,
    UploadFound,
    UrlAsked,
    UrlGiven,
    UrlsGiven,
    build_refusal,
)
from dtool_s3.errors import AccessDenied, DtoolS3Error, NotSupported, QuotaExceeded
from dtool_s3.store.protocol import ALWAYS, Part, Upload, if_match

#: More unfinished uploads than this are told in the runs that follow.
MAX_UPLOADS_TOLD = 10_000


def greet(grant: Grant, *, expires_seconds: int) -> Greeting:
    """Say where the bucket is and whom to trust there."""
    return Greeting(
        side=grant.scope.side,
        bucket=grant.store.bucket,
        endpoint_url=grant.store.endpoint_url,
        ca_pem=grant.ca_pem,
        expires_seconds=expires_seconds,
    )


async def sign(grant: Grant, asked: Sequence[UrlAsked], *, expires_seconds: int) -> UrlsGiven:
    """Sign what is permitted; what is not is refused one by one. Raises what signing raises."""
    answers: list[UrlGiven | Refusal | None] = [None] * len(asked)
    permits: dict[int, Permit] = {}
    for place, one in enumerate(asked):
        try:
            permit = permit_url(grant.scope, one)
            grant.count([permit])
        except (AccessDenied, QuotaExceeded) as error:
            answers[place] = build_refusal(error)
        else:
            permits[place] = permit
    requests = [permit.request for permit in permits.values()]
    urls = await grant.store.sign_urls(requests, expires_seconds=expires_seconds) if requests else ()
    grant.require_live()
    for (place, permit), url in zip(permits.items(), urls, strict=True):
        answers[place] = UrlGiven(url=url, headers=dict(permit.request.headers))
    return UrlsGiven(given=tuple(answer for answer in answers if answer is not None))


async def perform(grant: Grant, call: Call) -> CallAnswer:
    """Do what is permitted, with the operator's keys. Raises AccessDenied and what the store raises."""
    check_call(grant.scope, call)
    store = grant.store
    match call:
        case StartUpload():
            started = await store.start_upload(call.key, call.metadata)
            return CallAnswer(upload_id=started.upload_id)
        case CompleteUpload():
            parts = [Part(part.number, part.etag) for part in call.parts]
            return CallAnswer(etag=await store.complete_upload(Upload(call.key, call.upload_id), parts))
        case AbortUpload():
            await store.abort_upload(Upload(call.key, call.upload_id))
        case ListUploads():
            found = await store.list_uploads(call.prefix)
            told = [UploadFound(key=one.key, upload_id=one.upload_id) for one in found[:MAX_UPLOADS_TOLD]]
            return CallAnswer(uploads=tuple(told))
        case DeleteItem():
            await require_proto(store, grant.scope)
            await store.delete(call.key, precondition=if_match(call.if_match) if call.if_match else ALWAYS)
        case PartSizes():
            return CallAnswer(sizes=tuple(await store.part_sizes(call.key)))
        case _:
            assert_never(call)
    return CallAnswer()


def describe_failure(error: DtoolS3Error) -> tuple[int, Refusal]:
    """Return the HTTP status and what is said of a failure."""
    if isinstance(error, AccessDenied) and error.code == "NotGranted":
        return 403, build_refusal(error)
    return 501 if isinstance(error, NotSupported) else 424, build_refusal(error)
