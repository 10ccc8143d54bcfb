"""The names this operator shares with the API server, with users and with buckets. Constants only."""

from typing import Final

GROUP: Final = "dtool.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

BUCKET_KIND: Final = "DtoolBucket"
BUCKET_PLURAL: Final = "dtoolbuckets"
DATASET_KIND: Final = "DtoolDataset"
DATASET_PLURAL: Final = "dtooldatasets"

FINALIZER: Final = f"{GROUP}/finalizer"
"""Stands on an object only while rule 18 of the API needs it."""

FIELD_MANAGER: Final = "dtool-operator"
"""Owner of every field the operator writes by server-side apply."""

LABEL_UUID: Final = f"{GROUP}/uuid"
"""On every DtoolDataset whose dataset is known: finds all places of one dataset."""

LABEL_IMPORTED: Final = f"{GROUP}/imported"
"""`true` on objects the operator itself made for datasets it found."""

ANNOTATION_RECONCILE_REQUESTED: Final = f"{GROUP}/reconcileRequestedAt"
"""Any new value asks for a reconcile now; echoed in status.lastHandledReconcileAt."""

ANNOTATION_VERIFY_REQUESTED: Final = f"{GROUP}/verifyRequestedAt"
"""Any new value asks for a verification now; echoed in status.lastHandledVerifyAt."""

OWNER_MARKER: Final = ".dtool-owner"
"""Name of the object under a prefix that says which namespace identity owns the prefix (rule 4)."""

CREDENTIALS_READER_ROLE: Final = "dtool-operator-secret-reader"
"""ClusterRole that a team binds in its own namespace so that the operator may read its Secret (rule 5)."""
