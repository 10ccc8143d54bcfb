"""Multipart uploads, from start to completion or abort; owns no state."""

from collections.abc import Mapping, Sequence

from dtool_s3.errors import BucketUnreachable, NotFound
from dtool_s3.store.boto.answer import content_md5, expected_upload_etag, parse_etag
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.boto.reading import head
from dtool_s3.store.protocol import Part, Upload


async def start_upload(connection: Connection, key: str, metadata: Mapping[str, str]) -> Upload:
    """Start an upload; one whose answer was lost stays behind, and `list_uploads` shows it."""

    def call(client: Client) -> Upload:
        answer = client.create_multipart_upload(Bucket=connection.bucket, Key=key, Metadata=dict(metadata))
        return Upload(key, answer["UploadId"])

    return await connection.ask("start_upload", key, call)


async def put_part(connection: Connection, upload: Upload, number: int, body: bytes) -> Part:
    """Upload one part; repeating it is harmless."""

    def call(client: Client) -> Part:
        answer = client.upload_part(
            Bucket=connection.bucket,
            Key=upload.key,
            UploadId=upload.upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=content_md5(body),
        )
        return Part(number, parse_etag(answer))

    return await connection.ask("put_part", upload.key, call)


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
