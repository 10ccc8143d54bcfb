"""What S3 would answer if all were as one expects, with which `plan` goes on; pure, and says so in words.

Nobody else's prefix, nothing in the way, a source that is there and frozen.
"""

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.inquiry import Inquiry
from dtool_operator.planning.observed import StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.prefix_policy import derive_prefix
from dtool_operator.planning.source_place import ObjectsPlace, SourcePlace
from dtool_s3.documents import AdminMetadata, DatasetType


def expect_storage(dataset: DtoolDataset, inquiry: Inquiry) -> StorageView:
    """Build the answer that one expects."""
    target, origin = inquiry.target, inquiry.origin
    state = find_expected_type(dataset)
    view = StorageView()
    if target is not None:
        view = StorageView(
            registered_prefix=None if state is None else target.prefix,
            admin=None if state is None else _admin(target.uuid, dataset.dataset_name, state),
            uuid=target.uuid,
        )
    if not isinstance(origin, SourcePlace):
        return view
    prefix = origin.prefix
    if prefix is None:
        # under the own prefix it may be read through each of them
        prefix = derive_prefix(origin.candidates[0].spec, dataset.namespace)
    return StorageView(
        registered_prefix=view.registered_prefix,
        admin=view.admin,
        uuid=view.uuid,
        source_prefix=prefix,
        source_admin=_admin(origin.uuid, "source", DatasetType.FROZEN),
    )


def find_expected_type(dataset: DtoolDataset) -> DatasetType | None:
    """Return what is expected to be there already; None: nothing."""
    if was_frozen(dataset) or dataset.spec.uuid is not None:
        return DatasetType.FROZEN
    return DatasetType.PROTO if dataset.status.created_at is not None else None


def _admin(uuid: str, name: str, state: DatasetType) -> AdminMetadata:
    return AdminMetadata(uuid=uuid, type=state, name=name, creator_username="")


def list_questions(inquiry: Inquiry) -> list[str]:
    """Say what S3 would be asked, in its order."""
    questions = [] if inquiry.target is None else _ask_target(inquiry.target, inquiry.other_uuid)
    if inquiry.wanted is not None:
        questions.append("whether its README, tags and annotations are as the spec asks")
    match inquiry.origin:
        case SourcePlace(uuid, candidates, _):
            source = candidates[0].spec.bucket
            questions.append(f"whether source {uuid} is registered in bucket {source!r}, there, and frozen")
        case ObjectsPlace(source_bucket, _):
            questions.append(f"whose the prefix of the objects in bucket {source_bucket.spec.bucket!r} is")
        case _:
            pass
    return questions


def _ask_target(target: Target, other_uuid: str | None) -> list[str]:
    questions = [_ask_registration(target, target.uuid)]
    if other_uuid is not None:
        questions.append(f"{_ask_registration(target, other_uuid)} (if the first is not)")
    bucket = target.bucket.spec.bucket
    return [
        *questions,
        f"whose prefix {target.prefix!r} of bucket {bucket!r} is (its owner marker)",
        f"whether dataset {target.uuid} is there, and frozen",
    ]


def _ask_registration(target: Target, uuid: str) -> str:
    return f"where bucket {target.bucket.spec.bucket!r} registers {uuid} (its registration key)"


def list_expectations(dataset: DtoolDataset, inquiry: Inquiry) -> list[str]:
    """Say what the expected answers are."""
    expected = {
        None: "nothing registers or holds this dataset there yet",
        DatasetType.PROTO: "its proto dataset is there and registered",
        DatasetType.FROZEN: "it is there, registered and frozen",
    }[find_expected_type(dataset)]
    said = [] if inquiry.target is None else ["the prefix is nobody else's", expected]
    return said + (["the source is there, frozen, and may be read"] if inquiry.origin is not None else [])
