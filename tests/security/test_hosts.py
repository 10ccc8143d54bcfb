"""The operator talks to hosts that its administrator named, and to nobody that they point to (rule 2)."""

import socket
from contextlib import closing

import pytest

from dtool_operator.errors import ApiFailure
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from dtool_operator.planning.observed import ClusterView, ObservedDataset, Policy, Refusal
from dtool_operator.planning.source_place import _resolve_published
from dtool_s3 import blocking
from dtool_s3.errors import StorageError
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from tests.support import observed as see
from tests.support.datasets import UUID
from tests.support.play import ADMIN_NAMESPACE, Play
from tests.support.scripted_s3 import Answer, scripted_s3

INTERNAL = [
    "http://169.254.169.254",
    "http://localhost:9000",
    "http://127.0.0.1:9000",
    "http://[::1]:9000",
    "http://[::ffff:127.0.0.1]",
    "http://2130706433",
    "http://0x7f000001",
    "http://0177.0.0.1",
    "http://127.1",
    "https://kubernetes.default.svc",
    "https://S3.EXAMPLE.ORG.evil.example.net",
    "https://s3.example.org.",
    "https://s3.example.org:8443",
    "http://s3.example.org",
    "https://x.s3.example.org",
]
MALFORMED = [
    "https://user:password@s3.example.org",
    "https://s3.example.org@169.254.169.254",
    "https://s3.example.org\\@169.254.169.254",
    "https://s3.example.org#@169.254.169.254",
    "https://s3.example.org?@169.254.169.254",
    "https://s3.example.org/../..",
    "file:///etc/passwd",
    "gopher://s3.example.org",
    "//s3.example.org",
]


@pytest.mark.parametrize("endpoint", INTERNAL + MALFORMED)
async def test_an_endpoint_that_is_not_on_the_list_is_never_asked(play: Play, endpoint: str) -> None:
    play.server.create_bucket("mallorys")
    play.secret("own", namespace="mallory", key_id="mallory")
    play.cluster.let_operator_read_secrets("mallory")

    try:
        play.bucket(
            "own",
            namespace="mallory",
            bucket="mallorys",
            endpoint=endpoint,
            credentials={"secretRef": {"name": "own"}},
        )
    except ApiFailure:
        assert endpoint in MALFORMED
        return
    await play.settle()

    told = play.condition("mallory", "own", plural=BUCKET_PLURAL)
    assert told["reason"] == ("InvalidSpec" if endpoint in MALFORMED else "EndpointNotAllowed")
    assert [request for request in play.server.requests if request.bucket == "mallorys"] == []


@pytest.mark.parametrize("host", [url.partition("://")[2] for url in INTERNAL])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_published_source_on_a_host_that_is_not_on_the_list_is_refused(scheme: str, host: str) -> None:
    dataset = see.dataset(source={"uri": f"{scheme}://{host}/data/{UUID}"})
    policy = Policy(frozenset({ADMIN_NAMESPACE}), allowed_http_hosts=frozenset({"data.example.org"}))
    seen = ObservedDataset(see.NOW, dataset, ClusterView("cluster", (), {}), policy)

    assert dataset.spec.source is not None
    assert dataset.spec.source.uri is not None
    refused = _resolve_published(seen, dataset.spec.source.uri)

    assert isinstance(refused, Refusal)
    assert refused.reason == "EndpointNotAllowed"


@pytest.mark.parametrize(
    "uri",
    [
        f"file:///data/{UUID}",
        f"FILE:///data/{UUID}",
        f"http://data.example.org@169.254.169.254/{UUID}",
        f"http://data.example.org#@169.254.169.254/{UUID}",
        f"ftp://data.example.org/{UUID}",
        f"s3://lab-data/../other/{UUID}",
        f"s3://lab-data/{UUID}/../x",
        f"azure://container/{UUID}",
    ],
)
async def test_a_source_of_another_scheme_or_with_a_trick_in_it_is_refused(play: Play, uri: str) -> None:
    try:
        play.dataset("alice", "mine", source={"uri": uri})
    except ApiFailure:
        assert not play.cluster.exists(DATASET_PLURAL, "alice", "mine")
        return
    await play.settle()

    assert play.condition("alice", "mine")["reason"] in {"InvalidSpec", "EndpointNotAllowed"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_s3_server_that_redirects_leads_to_no_other_host(status: int) -> None:
    """Its own host stays its own: `localhost` is another name than 127.0.0.1, and so another host."""
    keys = Credentials("AKIA", Secret("very-secret"))
    with scripted_s3() as server, scripted_s3() as internal:
        answer = Answer(200, b"internal", {"ETag": '"0"', "Last-Modified": "Mon, 23 Nov 2026 01:00:00 GMT"})
        internal.answers = [answer]
        elsewhere = internal.url.replace("127.0.0.1", "localhost")
        assert socket.gethostbyname("localhost") == "127.0.0.1"
        body = b"<Error><Code>PermanentRedirect</Code></Error>"
        server.answers = [Answer(status, body, {"Location": f"{elsewhere}/lab-data/key"})]
        with closing(S3Store(Endpoint(server.url), "lab-data", lambda: keys, max_concurrency=2)) as store:
            for ask in (
                lambda: store.get("key", max_bytes=100),
                lambda: store.head("key"),
                lambda: store.get_range("key", 0, 3, etag="0"),
                lambda: store.put("key", b"body"),
                lambda: store.list("key"),
                store.check_bucket,
            ):
                with pytest.raises(StorageError):
                    blocking.run(ask())

        assert internal.received == []


def test_a_server_that_leads_from_http_to_https_is_asked_a_few_times_and_not_for_ever() -> None:
    """As load balancers do: botocore would ask for the region until the stack ends."""
    keys = Credentials("AKIA", Secret("very-secret"))
    with scripted_s3() as server:
        location = server.url.replace("http://", "https://")
        server.answers = [Answer(301, b"<html>Moved Permanently</html>", {"Location": location})]
        with closing(S3Store(Endpoint(server.url), "lab-data", lambda: keys, max_concurrency=2)) as store:
            for ask in (lambda: store.list(""), lambda: store.put("key", b""), store.check_bucket):
                with pytest.raises(StorageError):
                    blocking.run(ask())

        assert len(server.received) < 20
