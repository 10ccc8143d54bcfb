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

JOB_RUNNER_ROLE: Final = "dtool-operator-job-runner"
"""ClusterRole that a team binds in its own namespace so that the operator may run Jobs there."""

ANNOTATION_FINGERPRINT: Final = f"{GROUP}/fingerprint"
"""On a Job: which task it was made for; compared with the task, never trusted alone."""

ANNOTATION_DATASET_UID: Final = f"{GROUP}/dataset-uid"
"""On a Job: uid of the DtoolDataset it works for."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
WORKER_COMPONENT: Final = "dtool-worker"
"""On Jobs of the operator and their Pods: what a NetworkPolicy selects."""

SIGNING_AUDIENCE: Final = "dtool-operator-signing"
"""Audience of the token by which a worker shows the signing endpoint which Pod it is."""
