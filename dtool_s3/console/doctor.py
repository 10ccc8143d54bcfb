"""`dtool-s3 doctor`: shows the findings of `dtool_s3.doctor`."""

from dtool_s3.console.exit_code import ExitCode, exit_code
from dtool_s3.console.output import redact
from dtool_s3.console.session import Session
from dtool_s3.doctor import examine as examine_bucket
from dtool_s3.finding import Finding, Status


async def examine(session: Session) -> ExitCode:
    """Show one line a question; the exit code is that of the first failure."""
    base_uri = session.arguments.base_uri
    findings = await examine_bucket(
        base_uri, configure=session.configure, config_path=session.arguments.config
    )
    failures = [finding for finding in findings if finding.status is Status.FAIL]
    document = {
        "base_uri": base_uri,
        "is_healthy": not failures,
        "findings": [
            {"name": f.name, "status": f.status.value, "message": redact(f.message), "advice": f.advice}
            for f in findings
        ],
    }
    session.output.result(document, [_line(finding) for finding in findings])
    if not failures:
        return ExitCode.DONE
    error = failures[0].error
    return ExitCode.FAILED if error is None else exit_code(error)


def _line(finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{finding.status.value:<4} {finding.name}: {redact(finding.message)}{advice}"
