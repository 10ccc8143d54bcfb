"""`kubectl dtool verify`: asks for a verification now (rule 21), and waits for its outcome where told so."""

from datetime import UTC, datetime

from dtool_operator.cli.display import showing
from dtool_operator.cli.failure import ExitCode
from dtool_operator.cli.follow import wait
from dtool_operator.cli.ls import RESOURCE
from dtool_operator.cli.output import Format, write_document
from dtool_operator.cli.session import Session
from dtool_operator.cli.view import DatasetView, Outcome, read_view
from dtool_operator.names import ANNOTATION_VERIFY_REQUESTED


def run_verify(session: Session) -> ExitCode:
    """Annotate every dataset; with --wait end when each was verified since."""
    arguments = session.arguments
    # to the microsecond: two requests within a second are two
    value = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    views = []
    for name in arguments.names:
        session.kubectl.annotate(RESOURCE, name, f"{ANNOTATION_VERIFY_REQUESTED}={value}", session.place)
        views.append(read_view(session.kubectl.read(RESOURCE, name, namespace=session.place.namespace)))
    if not arguments.wait:
        _tell(session, views, value)
        return ExitCode.DONE

    def judge(view: DatasetView) -> Outcome:
        return judge_verification(view, value)

    with showing(session.stdout, arguments.output) as show:
        return wait(session, views, judge, show=show, timeout_seconds=arguments.timeout)


def judge_verification(view: DatasetView, value: str) -> Outcome:
    """Tell how the verification asked for ended; where nothing was read, sizes that are right are good."""
    verified = view.conditions.get("Verified", {}).get("status")
    if view.verify_handled == value and view.is_current:
        return Outcome.FAILED if verified == "False" or view.state == "Damaged" else Outcome.MET
    if view.state in {"Proto", "Suspended", "Failed", "Deleting"} and view.is_current:
        return Outcome.FAILED  # there is nothing frozen to be verified
    return Outcome.OPEN


def _tell(session: Session, views: list[DatasetView], value: str) -> None:
    if session.arguments.output is not Format.TABLE:
        asked = [{"namespace": v.namespace, "name": v.name, "requestedAt": value} for v in views]
        write_document(session.stdout, {"requests": asked}, session.arguments.output)
        return
    for view in views:
        session.stdout.write(f"{'/'.join(view.key)} verification requested\n")
