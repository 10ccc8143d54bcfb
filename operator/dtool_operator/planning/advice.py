"""What a user can do about a failure, by its reason; pure text. The detail of the failure stays behind it."""

from dtool_operator.api.reasons import Reason

_ADVICE = {
    Reason.BUCKET_NOT_FOUND: "S3 knows no bucket of this name: create it, or correct bucket or endpoint.",
    Reason.CREDENTIALS_REJECTED: (
        "S3 does not accept the keys: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
        "AWS_SESSION_TOKEN, if there is one) in the bucket's Secret."
    ),
    Reason.ACCESS_DENIED: "S3 does not let these keys do this: extend their policy or the bucket's.",
    Reason.BUCKET_UNREACHABLE: "No good answer from the endpoint; it is tried again. Is spec.endpoint right?",
    Reason.CLOCK_SKEWED: "The clocks of operator and endpoint differ too much to sign requests: set them.",
    Reason.THROTTLED: "The endpoint asks to slow down; it is tried again.",
    Reason.QUOTA_EXCEEDED: (
        "There is no room left: delete data, or have the limit raised: limits.perNamespace of the "
        "DtoolBucket, or the endpoint's own."
    ),
    Reason.ITEM_ARCHIVED: "Restore the items from archive first.",
    Reason.SOURCE_DAMAGED: "Mend the source: the copy is tried again.",
    Reason.SOURCE_TOO_LARGE: "Make several datasets of it, or pack small files: it is tried again.",
    Reason.ITEM_MISSING: "Bring back the items as the manifest says: it is tried again.",
    Reason.CONTENT_DIFFERS: (
        "What lies there is left alone: remove what does not belong to the dataset, bring back items that "
        "were changed, then ask for a look with dtool.dev/reconcileRequestedAt."
    ),
    Reason.INVALID_MANIFEST: (
        "The manifest cannot be used: mend it and ask for a look with dtool.dev/reconcileRequestedAt, or "
        "correct manifestSHA256 in a new object."
    ),
    Reason.INVALID_ADMIN_METADATA: "The dataset's object dtool cannot be used: restore it.",
    Reason.UNSAFE_PATH: (
        "There is something that no dataset may hold: put it right at the source, or make a dataset with "
        "other names there, then ask for a look with dtool.dev/reconcileRequestedAt."
    ),
    Reason.OUT_OF_MEMORY: (
        "Give workers more memory: workers.resources of the chart, or spec.workers of the DtoolBucket."
    ),
    Reason.VOLUME_FULL: "Make room on the volume, or make it larger: it is tried again.",
    Reason.VOLUME_NOT_FOUND: "Create the PersistentVolumeClaim, or correct claimName in a new object.",
    Reason.VOLUME_UNAVAILABLE: "See what the volume lacks: it is tried again.",
    Reason.POD_QUOTA_EXCEEDED: "Wait for other Pods to end, or have the ResourceQuota raised.",
    Reason.IMAGE_PULL_FAILED: "Correct the image or its pull secrets: workers.image of the chart.",
    Reason.UNSCHEDULABLE: "No node takes the Pod: see resources, node selector, taints and the volume.",
    Reason.POD_EVICTED: "The Pod was ended by the cluster; it is tried again.",
    Reason.JOB_LOST: "It is begun again, and goes on where it was.",
    Reason.SIGNING_FAILED: (
        "The worker gets no signed URLs from the operator. Its administrator sees whether "
        "DTOOL_OPERATOR_SIGNING_URL (signing.url of the chart) is right, and reached from Pods of this "
        "namespace; it is tried again."
    ),
    Reason.WRITTEN_WHILE_FREEZING: (
        "Somebody writes to the dataset: it is frozen once nobody has for the quiet period."
    ),
}


def advise(reason: Reason, detail: str) -> str:
    """Return a message: what to do, where that is known, then what happened."""
    advice = _ADVICE.get(reason)
    return detail if advice is None else f"{advice} ({detail})"
