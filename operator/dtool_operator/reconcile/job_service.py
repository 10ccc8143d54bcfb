"""What Jobs need, put together and kept alive: their executor, the signing endpoint and its certificate.

Owns their order: nothing listens before the operator leads, nobody is told an address before it listens.
"""

import logging
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import urlsplit

from dtool_operator.adapters.connection import Connection
from dtool_operator.adapters.job_secrets import JobSecrets
from dtool_operator.adapters.jobs import KubernetesJobs
from dtool_operator.adapters.own_secrets import KubernetesOwnSecrets
from dtool_operator.adapters.token_review import TokenReviewer
from dtool_operator.names import SIGNING_AUDIENCE
from dtool_operator.planning.manifests import TOKEN_FILE, WorkerSettings
from dtool_operator.planning.task import SigningPlace
from dtool_operator.planning.transfer import RequestObserver
from dtool_operator.settings import Settings
from dtool_operator.transfers.job import JobExecutor
from dtool_operator.transfers.job_run import JobSettings
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.signing.certificate import Certificate, ensure_certificate
from dtool_operator.transfers.signing.grants import Grants
from dtool_operator.transfers.signing.server import SigningServer

_LOG = logging.getLogger(__name__)


class JobService:
    """Everything of Jobs that the operator runs itself.

    `worker`: what their Pods are; None: none is started, those that run are followed.
    """

    def __init__(self, settings: Settings, worker: WorkerSettings | None, connection: Connection) -> None:
        self._settings, self._worker, self._connection = settings, worker, connection
        self._secrets = KubernetesOwnSecrets(connection, namespace=settings.namespace)
        expiry = int(settings.signing_expiry.total_seconds())
        self._grants = None if settings.signing_url is None else Grants(expiry_seconds=expiry)
        self._executor: JobExecutor | None = None
        self._certificate: Certificate | None = None
        self._server: SigningServer | None = None

    def build_executor(self, ledger: Ledger, on_requests: RequestObserver) -> JobExecutor:
        """Build the executor of Jobs; until `start` none is told of the signing endpoint."""
        namespace = self._settings.namespace
        self._executor = JobExecutor(
            JobSettings(operator_namespace=namespace, worker=self._worker),
            ledger=ledger,
            api=KubernetesJobs(
                self._connection,
                operator_namespace=namespace,
                service_account=self._settings.service_account,
            ),
            secrets=JobSecrets(self._secrets),
            grants=self._grants,
            on_requests=on_requests,
        )
        return self._executor

    async def prepare(self) -> None:
        """Read the certificate or make it, once. Raises ApiFailure, OperatorError: call it again."""
        if self._settings.signing_url is not None:
            await self._ensure_certificate(self._settings.signing_url)

    async def start(self) -> None:
        """Listen. Raises OSError (the port is taken), and if it was not prepared what `prepare` does."""
        settings, grants, url = self._settings, self._grants, self._settings.signing_url
        if grants is None or url is None or self._executor is None:
            return
        certificate = await self._ensure_certificate(url)
        self._server = SigningServer(
            host=settings.signing_host,
            port=settings.signing_port,
            certificate=certificate,
            grants=grants,
            reviewer=TokenReviewer(self._connection, audience=SIGNING_AUDIENCE),
            clock=monotonic,
        )
        await self._server.start()
        _LOG.info("signing_served", extra={"port": self._server.port})
        place = SigningPlace(url=url, ca_pem=certificate.ca_pem, token_file=TOKEN_FILE)
        self._executor.reach_signing_at(place)

    async def stop(self) -> None:
        """Listen no more; the second time does nothing."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def _ensure_certificate(self, url: str) -> Certificate:
        if self._certificate is None:
            self._certificate = await ensure_certificate(
                self._secrets,
                f"{self._settings.lease_name}-signing",
                host=urlsplit(url).hostname or "",
                now=datetime.now(UTC),
            )
        return self._certificate
