"""What a check has found, as a value and as a line; for people and, as JSON, for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what it was about, whether it is as it should be, what is so, and what to do otherwise."""

    check: str
    ok: bool
    message: str
    advice: str = ""


def format_findings(findings: Sequence[Finding], *, as_json: bool) -> str:
    """Return one line per finding, or one JSON document."""
    if as_json:
        document = {"ok": is_ok(findings), "checks": [asdict(finding) for finding in findings]}
        return json.dumps(document, indent=2)
    return "\n".join(map(_format_line, findings))


def is_ok(findings: Sequence[Finding]) -> bool:
    """Tell whether everything is as it should be."""
    return all(finding.ok for finding in findings)


def _format_line(finding: Finding) -> str:
    word = "ok" if finding.ok else "failed"
    advice = f"; {finding.advice}" if finding.advice and not finding.ok else ""
    line = f"{word:<8}{finding.check:<12}{finding.message}{advice}"
    return "".join(one if one.isprintable() else "?" for one in line)
