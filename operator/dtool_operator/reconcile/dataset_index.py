"""Datasets as last seen, found by what others ask for: uid, namespace, name, claim on a uuid, source.

Holds parsed objects only and decides nothing; `world` decides who is looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.planning.identity import dataset_uuid
from dtool_operator.reconcile.invalid_object import Invalid

Dataset = DtoolDataset | Invalid[DtoolDatasetStatus]
Name = tuple[str, str]
"""Namespace and name."""


class DatasetIndex:
    """All datasets; every answer is in the order of arrival or sorted, never that of a hash."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Dataset] = {}
        self._by_name: dict[Name, str] = {}
        self._by_namespace: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._by_claim: defaultdict[Name, set[str]] = defaultdict(set)
        self._by_source: defaultdict[Name, set[str]] = defaultdict(set)

    def get(self, uid: str) -> Dataset | None:
        """Return an object, or None if it is gone."""
        return self._by_uid.get(uid)

    def find(self, namespace: str, name: str) -> Dataset | None:
        """Return the object of a name, or None."""
        uid = self._by_name.get((namespace, name))
        return None if uid is None else self._by_uid[uid]

    def put(self, dataset: Dataset) -> None:
        """Take in an object as it is now."""
        self.remove(dataset.meta.uid)
        uid, here = dataset.meta.uid, (dataset.meta.namespace, dataset.meta.name)
        self._by_uid[uid] = dataset
        self._by_name[here] = uid
        self._by_namespace[dataset.meta.namespace][uid] = None
        for index, key in self._keys(dataset):
            index[key].add(uid)

    def remove(self, uid: str) -> Dataset | None:
        """Take out an object; return it as it was."""
        known = self._by_uid.pop(uid, None)
        if known is None:
            return None
        namespace, here = known.meta.namespace, (known.meta.namespace, known.meta.name)
        if self._by_name.get(here) == uid:
            del self._by_name[here]
        del self._by_namespace[namespace][uid]
        if not self._by_namespace[namespace]:
            del self._by_namespace[namespace]
        for index, key in self._keys(known):
            index[key].discard(uid)
            if not index[key]:
                del index[key]
        return known

    def valid(self, namespace: str | None = None) -> Iterator[DtoolDataset]:
        """Give the objects whose spec is valid, of one namespace or of all."""
        uids: Iterable[str] = self._by_uid if namespace is None else self._by_namespace.get(namespace, {})
        return self._valid(uids)

    def claimants(self, namespace: str, uuid: str) -> Iterator[DtoolDataset]:
        """Give the objects of a namespace that stand for one uuid."""
        return self._valid(sorted(self._by_claim.get((namespace, uuid), ())))

    def followers(self, namespace: str, name: str) -> Iterator[DtoolDataset]:
        """Give the objects whose source is the dataset of this object."""
        return self._valid(sorted(self._by_source.get((namespace, name), ())))

    def __len__(self) -> int:
        return len(self._by_uid)

    def _valid(self, uids: Iterable[str]) -> Iterator[DtoolDataset]:
        found = (self._by_uid[uid] for uid in uids)
        return (one for one in found if isinstance(one, DtoolDataset))

    def _keys(self, dataset: Dataset) -> Iterator[tuple[defaultdict[Name, set[str]], Name]]:
        if not isinstance(dataset, DtoolDataset):
            return
        uuid = dataset_uuid(dataset)
        if uuid is not None:
            yield self._by_claim, (dataset.namespace, uuid)
        ref = dataset.spec.source.dataset if dataset.spec.source else None
        if ref is not None:
            yield self._by_source, (ref.namespace or dataset.namespace, ref.name)
