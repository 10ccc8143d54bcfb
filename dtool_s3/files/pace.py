"""How much of a dataset's files is on its way at a time; a value."""

from dataclasses import dataclass

from dtool_s3.files.upload import CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Pace:
    """Files in flight, and up to which size in bytes one is moved in one piece.

    What is in memory of them is bounded by itself.
    """

    concurrency: int = 48
    chunk_bytes: int = CHUNK_BYTES


DEFAULT_PACE = Pace()
