"""Which objects are made for datasets found, which of them go (rule 9), who takes a prefix over. Pure.

A look acts on what the last listing found, on each once: what failed waits for the next listing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dtool_operator.api.choice import AccessMode, ImportMode
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.planning.census import admitted_prefixes
from dtool_operator.planning.findings import Claims, find_claims, is_listed, list_imported, own_prefix
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.imported import choose_superior, is_kept_in
from dtool_operator.planning.observed import Findings, ObservedBucket
from dtool_operator.planning.plan import BucketAction, EnsureOwner, ImportDataset, PruneImported
from dtool_operator.planning.prefix_policy import find_take_over
from dtool_s3.catalog import EMPTY_CATALOG, Catalog
from dtool_s3.layout import DatasetLayout
from dtool_s3.ownership import Owner, owner_key

ACTIONS_AT_ONCE: Final = 20
"""Objects created or deleted in one look: others have their turns in between (rule 17)."""

_NAME_MAXIMUM: Final = 63
_SLUG_SOURCE_MAXIMUM: Final = 256
_UUID_PARTS: Final = (8, 13, 18, 23, 36)
_SHOWN: Final = 5


def build_names(name: str, uuid: str) -> tuple[str, ...]:
    """Return the names that an imported object may have, to be tried in this order; each a DNS label.

    `<slug of the dataset's name>-<first 8 of uuid>`; where another dataset has that, more of the uuid. A name
    without a letter or digit of ASCII leaves the uuid alone.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name[:_SLUG_SOURCE_MAXIMUM].lower()).strip("-")
    if not slug:
        return (uuid,)
    return tuple(f"{slug[: _NAME_MAXIMUM - 1 - part].rstrip('-')}-{uuid[:part]}" for part in _UUID_PARTS)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look decides by, gathered once.

    `imported`: this bucket object's own imported objects. `found` is empty where the last listing failed or
    was made for another spec: then nothing is imported and nothing pruned for want of its dataset.
    """

    seen: ObservedBucket
    found: Findings
    catalog: Catalog
    namespaces: Mapping[str, str]
    imported: tuple[DtoolDataset, ...]
    claims: Claims

    def expected_owner(self, prefix: str) -> Owner:
        """Return the identity of the namespace that a prefix belongs to."""
        name = self.namespaces[prefix]
        return Owner(self.seen.cluster.uid, self.seen.cluster.namespaces[name].uid, name, prefix)

    def is_owned(self, prefix: str) -> bool:
        """Tell whether the marker read after the listing is ours; none counts so in a ReadOnly bucket."""
        if prefix not in self.found.owners or prefix not in self.namespaces:
            return False
        owner = self.found.owners[prefix]
        return self.is_read_only if owner is None else owner == self.expected_owner(prefix)

    def is_unmarked(self, prefix: str) -> bool:
        """Tell whether a prefix was found without a marker."""
        return prefix in self.found.owners and self.found.owners[prefix] is None

    def is_foreign(self, prefix: str) -> bool:
        """Tell whether a prefix was found to be somebody else's."""
        return self.found.owners.get(prefix) is not None and not self.is_owned(prefix)

    def is_ending(self, namespace: str) -> bool:
        """Tell whether a namespace is being deleted."""
        return self.seen.cluster.namespaces[namespace].is_terminating

    @property
    def is_read_only(self) -> bool:
        """Whether nothing is ever written to the bucket."""
        return self.seen.bucket.spec.access_mode is AccessMode.READ_ONLY

    @property
    def room(self) -> int:
        """How many objects more may be imported.

        Objects that only bear the label of imported ones, of datasets that are not there, take no room.
        """
        taken = sum(self.is_there(one) for one in self.imported)
        return max(0, self.seen.bucket.spec.listing.import_limit - taken)

    def is_there(self, one: DtoolDataset) -> bool:
        """Tell whether the listing found the dataset that an object tells of."""
        uuid = one.status.uuid or one.spec.uuid
        return uuid is not None and is_listed(self.catalog, own_prefix(one, self.seen.bucket), uuid)

    def list_waiting(self, prefix: str) -> list[str]:
        """List the uuids under a prefix that nothing describes yet."""
        uuids = self.found.importable.get(prefix, ())
        return [uuid for uuid in uuids if DatasetLayout(prefix, uuid).root not in self.claims]


def take_survey(seen: ObservedBucket) -> Survey:
    """Gather what is decided by."""
    listed, found, catalog = seen.listed, Findings(), EMPTY_CATALOG
    if (
        listed is not None
        and listed.refusal is None
        and listed.generation == seen.bucket.meta.generation
        and listed.found is not None
        and listed.catalog is not None
    ):
        found, catalog = listed.found, listed.catalog
    return Survey(seen, found, catalog, admitted_prefixes(seen), list_imported(seen), find_claims(seen))


def plan_findings(survey: Survey) -> tuple[BucketAction, ...]:
    """Decide which objects are created or deleted now; nothing before a listing has said something."""
    if not survey.found.prefixes:
        return ()
    planned: list[BucketAction] = [
        *_plan_take_overs(survey),
        *_plan_pruning(survey),
        *_plan_imports(survey),
    ]
    return tuple(planned[:ACTIONS_AT_ONCE])


def _plan_take_overs(survey: Survey) -> Iterator[EnsureOwner]:
    """Replace the owners that spec.takeOver names, whatever lies there, and nobody else (rule 4)."""
    for prefix, name in sorted(survey.namespaces.items()):
        found = survey.found.owners.get(prefix)
        is_named = found is not None and str(found) == find_take_over(survey.seen.bucket, name)
        is_open = owner_key(prefix) not in survey.found.tried
        if is_named and is_open and survey.is_foreign(prefix) and not survey.is_ending(name):
            yield EnsureOwner(survey.expected_owner(prefix), replaces=found)


def _plan_pruning(survey: Survey) -> Iterator[PruneImported]:
    vanished = set(survey.found.vanished)
    is_same_bucket = any(survey.is_there(one) for one in survey.seen.objects if _is_here(one, survey))
    for one in survey.imported:
        if one.meta.deletion_timestamp is not None or one.uid in survey.found.tried:
            continue
        prefix = own_prefix(one, survey.seen.bucket)
        root = DatasetLayout(prefix, one.spec.uuid or "").root
        is_gone = one.uid in vanished and survey.is_owned(prefix)
        # without a marker only the datasets themselves tell this bucket from another one at its address
        if is_gone and survey.is_unmarked(prefix) and not is_same_bucket:
            is_gone = False
        if choose_superior(one, survey.claims.get(root, ())) is not None:
            yield _build_pruning(one, prefix, is_superseded=True)
        elif is_gone:
            yield _build_pruning(one, prefix, is_superseded=False)


def _is_here(one: DtoolDataset, survey: Survey) -> bool:
    return is_kept_in(one, survey.seen.bucket)


def _build_pruning(one: DtoolDataset, prefix: str, *, is_superseded: bool) -> PruneImported:
    assert one.spec.uuid is not None
    return PruneImported(
        namespace=one.namespace,
        name=one.name,
        uid=one.uid,
        resource_version=one.meta.resource_version,
        prefix=prefix,
        uuid=one.spec.uuid,
        is_superseded=is_superseded,
    )


def _plan_imports(survey: Survey) -> Iterator[BucketAction]:
    room = survey.room
    if survey.seen.bucket.spec.listing.import_ is ImportMode.NEVER:
        return
    for prefix in survey.found.importable:
        if room <= 0 or not _takes_objects(survey, prefix):
            continue
        tried = survey.found.tried
        waiting = [u for u in survey.list_waiting(prefix) if DatasetLayout(prefix, u).root not in tried]
        if not waiting:
            continue
        if survey.is_owned(prefix):
            for uuid in waiting[:room]:
                yield _build_import(survey, prefix, uuid)
            room -= len(waiting)
        elif owner_key(prefix) not in tried and _may_claim(survey, prefix):
            yield EnsureOwner(survey.expected_owner(prefix))


def _takes_objects(survey: Survey, prefix: str) -> bool:
    namespace = survey.namespaces.get(prefix)
    if namespace is None or namespace in survey.found.refused:
        return False
    return not survey.is_ending(namespace)


def _may_claim(survey: Survey, prefix: str) -> bool:
    """Tell whether a prefix without a marker is claimed for the sake of an import.

    Not where objects tell of frozen datasets that are not there: it may be another bucket at the address of
    the one they lie in.
    """
    return survey.is_unmarked(prefix) and not any(
        was_frozen(one) and not survey.is_there(one)
        for one in survey.seen.objects
        if _is_here(one, survey) and one.namespace == survey.namespaces[prefix]
    )


def _build_import(survey: Survey, prefix: str, uuid: str) -> ImportDataset:
    owner = survey.expected_owner(prefix)
    names = build_names(survey.catalog.entries[uuid].name, uuid)
    return ImportDataset(owner.namespace, owner.namespace_uid, names, prefix, uuid)


def describe_findings(survey: Survey) -> str:
    """Say what the listing leaves undone, for the message of the condition Listed; empty if nothing."""
    return " ".join(_describe(survey))


def _describe(survey: Survey) -> Iterator[str]:
    if survey.catalog.unlisted:
        yield (
            f"{len(survey.catalog.unlisted)} prefixes cannot be listed with these keys, or have too much "
            "directly below them: datasets without registration key are not seen there, and no imported "
            "object is removed."
        )
    waiting = {prefix: len(survey.list_waiting(prefix)) for prefix in survey.found.importable}
    left = sum(waiting.values())
    if left and not survey.room:
        limit = survey.seen.bucket.spec.listing.import_limit
        yield f"importLimit {limit} is reached: {left} frozen datasets have no DtoolDataset."
    foreign = [prefix for prefix, count in waiting.items() if count and survey.is_foreign(prefix)]
    if foreign:
        shown = ", ".join(repr(prefix) for prefix in foreign[:_SHOWN])
        yield f"{len(foreign)} prefixes belong to other owners, nothing is imported from there: {shown}."
    if survey.found.refused:
        shown = ", ".join(sorted(survey.found.refused)[:_SHOWN])
        yield f"{len(survey.found.refused)} namespaces take no new DtoolDataset: {shown}."
