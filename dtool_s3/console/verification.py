"""How a verification is told, to people and to programs; shared by the commands that end with one; pure."""

from typing import Any

from dtool_s3.console.output import format_items
from dtool_s3.transfer.verify import Verification

#: What each kind of evidence says about an item's bytes.
_EVIDENCE = {
    "MD5": "MD5 as stored",
    "Read": "read and hashed",
    "SameAsSource": "same as the source",
}


def verification_document(verification: Verification) -> dict[str, Any]:
    """Build the JSON form; sizes in bytes, at most 20 `mismatches` and `extra` keys of so many."""
    return {
        "items": verification.items,
        "size_in_bytes": verification.size_bytes,
        "evidence": {str(kind): count for kind, count in verification.evidence.items()},
        "unproven": verification.unproven,
        "mismatch_count": verification.mismatch_count,
        "mismatches": [
            {"relpath": m.relpath, "expected": m.expected, "found": m.found} for m in verification.mismatches
        ],
        "extra_count": verification.extra_count,
        "extra": list(verification.extra),
    }


def describe(verification: Verification) -> str:
    """Say in one line what is known of the items."""
    parts = [
        f"{count} {_EVIDENCE.get(str(kind), str(kind))}"
        for kind, count in verification.evidence.items()
        if count
    ]
    if verification.unproven:
        parts.append(f"{verification.unproven} unproven")
    known = f" ({', '.join(parts)})" if parts else ""
    return f"{format_items(verification.items, verification.size_bytes)}{known}"


def list_differences(verification: Verification) -> list[str]:
    """One line for each item that differs and each key that is none, as far as they are named."""
    lines = [f"{m.relpath}: expected {m.expected}, found {m.found}" for m in verification.mismatches]
    lines += [f"data/{key}: no item" for key in verification.extra]
    left = verification.mismatch_count + verification.extra_count - len(lines)
    return [*lines, f"and {left} more"] if left else lines
