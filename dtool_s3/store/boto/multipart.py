"""Multipart uploads, from start to completion or abort; owns no state."""

from collections.abc import Mapping, Sequence

from dtool_s3.errors import BadDigest, BucketUnreachable, NotFound
from dtool_s3.store.boto.answer import (
    content_md5,
    encoded_md5,
    encryption_parameters,
    expected_upload_etag,
    parse_copied_etag,
    parse_etag,
)
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.boto.reading import head
from dtool_s3.store.boto.wire import sendable
from dtool_s3.store.protocol import Body, ListedObject, Part, Upload


async def start_upload(connection: Connection, key: str, metadata: Mapping[str, str]) -> Upload:
    """Start an upload; one whose answer was lost stays behind, and `list_uploads` shows it."""

    def call(client: Client) -> Upload:
        answer = client.create_multipart_upload(
            Bucket=connection.bucket,
            Key=key,
            Metadata=dict(metadata),
            **encryption_parameters(connection.endpoint.encryption),
        )
        return Upload(key, answer["UploadId"])

    return await connection.ask("start_upload", key, call)


async def put_part(
    connection: Connection, upload: Upload, number: int, body: Body, md5: bytes | None
) -> Part:
    """Upload one part; repeating it is harmless.

    Bytes that twice differ from an `md5` that was given are other bytes, and not sent a third time.
    """

    def call(client: Client) -> Part:
        answer = client.upload_part(
            Bucket=connection.bucket,
            Key=upload.key,
            UploadId=upload.upload_id,
            PartNumber=number,
            Body=sendable(body),
            ContentMD5=content_md5(body) if md5 is None else encoded_md5(md5),
        )
        return Part(number, parse_etag(answer))

    refusals: list[BadDigest] = []

    async def attempt(_: int) -> Part | None:
        try:
            return await connection.send("put_part", upload.key, call)
        except BadDigest as error:
            refusals.append(error)
            if md5 is None or len(refusals) == 1:
                raise
            return None

    part = await connection.retry.repeat(attempt)
    if part is None:
        raise refusals[-1]
    return part


async def copy_part(
    connection: Connection,
    upload: Upload,
    number: int,
    source_bucket: str,
    source: ListedObject,
    first_byte: int,
    size_bytes: int,
) -> Part:
    """Make one part of bytes of another object; repeating it is harmless."""

    def call(client: Client) -> Part:
        answer = client.upload_part_copy(
            Bucket=connection.bucket,
            Key=upload.key,
            UploadId=upload.upload_id,
            PartNumber=number,
            CopySource={"Bucket": source_bucket, "Key": source.key},
            CopySourceIfMatch=f'"{source.etag}"',
            CopySourceRange=f"bytes={first_byte}-{first_byte + size_bytes - 1}",
        )
        what = f"copy_part of {connection.place(upload.key)}"
        return Part(number, parse_copied_etag(answer, "CopyPartResult", what))

    return await connection.ask("copy_part", upload.key, call, patient=True)


async def complete_upload(connection: Connection, upload: Upload, parts: Sequence[Part]) -> str:
    """Make the object; where the answer was lost, an object with the ETag of these parts is ours."""
    listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]

    def call(client: Client) -> str:
        answer = client.complete_multipart_upload(
            Bucket=connection.bucket,
            Key=upload.key,
            UploadId=upload.upload_id,
            MultipartUpload={"Parts": listed},
        )
        return parse_etag(answer)

    async def attempt(number: int) -> str:
        try:
            return await connection.send("complete_upload", upload.key, call, patient=True)
        except (BucketUnreachable, NotFound) as error:
            is_first_refusal = number == 0 and isinstance(error, NotFound)
            expected = expected_upload_etag(parts)
            if is_first_refusal or expected is None or await _etag(connection, upload.key) != expected:
                raise
            return expected

    return await connection.retry.repeat(attempt)


async def _etag(connection: Connection, key: str) -> str | None:
    try:
        return (await head(connection, key)).etag
    except (BucketUnreachable, NotFound):
        return None


async def abort_upload(connection: Connection, upload: Upload) -> None:
    """Give up an upload; gone already is fine."""
    try:
        await connection.ask(
            "abort_upload",
            upload.key,
            lambda client: client.abort_multipart_upload(
                Bucket=connection.bucket, Key=upload.key, UploadId=upload.upload_id
            ),
        )
    except NotFound:
        return
