"""What to copy where, as a value."""

from dataclasses import dataclass

from dtool_s3.documents import AdminMetadata
from dtool_s3.layout import DatasetLayout
from dtool_s3.transfer.derivation import new_admin_metadata
from dtool_s3.transfer.multipart import GRACE_SECONDS
from dtool_s3.transfer.parts import S3_LIMITS, PartLimits


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What to copy where: one UUID from `source_prefix` to `target_prefix`, which are known to be right.

    `server_side`: the target's credentials may be used to read the source. `concurrency`: items in flight.
    `limits`: from which sizes on items move in parts. `grace_seconds`: how long a cancelled copy waits for a
    part under way, so that none stays behind. `pause_seconds`: see `dtool_s3.transfer.target.publish`.
    `memory_bytes`: of items' bytes, how many may be in memory at a time; None: a share of what all transfers
    of this process have together.

    `target_uuid`, `name`, `creator_username`, all or none: make a derived dataset with this identity, created
    and frozen now, whose annotation `derived_from` names the source. `manifest_sha256`: the only manifest
    that is accepted. `max_size_bytes`: a larger source is not copied.
    """

    uuid: str
    source_prefix: str
    target_prefix: str
    server_side: bool = True
    concurrency: int = 64
    limits: PartLimits = S3_LIMITS
    grace_seconds: float = GRACE_SECONDS
    pause_seconds: float = 1.0
    memory_bytes: int | None = None
    target_uuid: str | None = None
    name: str | None = None
    creator_username: str | None = None
    manifest_sha256: str | None = None
    max_size_bytes: int | None = None

    @property
    def source_layout(self) -> DatasetLayout:
        """Keys of the source."""
        return DatasetLayout(self.source_prefix, self.uuid)

    @property
    def target_layout(self) -> DatasetLayout:
        """Keys of the copy."""
        return DatasetLayout(self.target_prefix, self.target_uuid or self.uuid)

    def proto_metadata(self, source: AdminMetadata, *, now: float) -> AdminMetadata:
        """Return what the copy begins as: the source's identity, or one of its own, created at `now`."""
        if self.target_uuid is None:
            return source
        # `check_identity` saw to name and creator
        return new_admin_metadata(self.target_uuid, self.name or "", self.creator_username or "", now=now)
