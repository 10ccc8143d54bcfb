"""How a verification is told, to people and to programs; shared by the commands that end with one; pure."""

from typing import Any

from dtool_s3.console.output import Output, format_items
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.verify import Verification

#: What each kind of evidence says about an item's bytes.
_EVIDENCE = {
    Evidence.ETAG_MD5: "by ETag",
    Evidence.READ: "read",
    Evidence.SAME_AS_SOURCE: "same as source",
}


def verification_document(verification: Verification, uri: str) -> dict[str, Any]:
    """Build the JSON form; sizes in bytes, at most 20 `mismatches` and `extra` keys of so many.

    `hint`: what to do about unproven items; `""` where there are none.
    """
    return {
        "items": verification.items,
        "size_in_bytes": verification.size_bytes,
        "evidence": {str(kind): count for kind, count in verification.evidence.items()},
        "unproven": verification.unproven,
        "hint": proof_hint(verification, uri),
        "mismatch_count": verification.mismatch_count,
        "mismatches": [
            {"relpath": m.relpath, "expected": m.expected, "found": m.found} for m in verification.mismatches
        ],
        "extra_count": verification.extra_count,
        "extra": list(verification.extra),
    }


def describe(verification: Verification) -> str:
    """Say in one line what is known of the items."""
    parts = [f"{count} {_EVIDENCE[kind]}" for kind, count in verification.evidence.items() if count]
    if verification.unproven:
        parts.append(f"{verification.unproven} unproven")
    known = f" ({', '.join(parts)})" if parts else ""
    return f"{format_items(verification.items, verification.size_bytes)}{known}"


def proof_hint(verification: Verification, uri: str) -> str:
    """Say by which command the bytes of unproven items are proven; `""` where all are."""
    if not verification.unproven:
        return ""
    count = verification.unproven
    said = "item has the right size" if count == 1 else "items have the right sizes"
    return f"{count} {said} and no evidence of bytes by listing: `{reading_command(uri)}` reads every byte"


def reading_command(uri: str) -> str:
    """Return the command that reads and hashes all items of a dataset in S3 or in a directory."""
    if uri.startswith("s3://"):
        return f"dtool-s3 verify --method content {uri}"
    return f"dtool verify --full {uri}"


def note_unproven(output: Output, verification: Verification, uri: str) -> None:
    """Tell people what to do about unproven items, if there are any."""
    hint = proof_hint(verification, uri)
    if hint:
        output.note(f"note: {hint}")


def list_differences(verification: Verification) -> list[str]:
    """One line for each item that differs and each key that is none, as far as they are named."""
    lines = [f"{m.relpath}: expected {m.expected}, found {m.found}" for m in verification.mismatches]
    lines += [f"data/{key}: no item" for key in verification.extra]
    left = verification.mismatch_count + verification.extra_count - len(lines)
    return [*lines, f"and {left} more"] if left else lines
