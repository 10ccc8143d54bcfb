"""What a connection to the API server survives by itself, and what it leaves to its caller."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.errors import ApiFailure
from tests.support.scripted_api import Answer, ScriptedApi, scripted_api, write_kubeconfig

OK = Answer(200, {"kind": "Thing"})
RESET = Answer(0)
PATH = "/api/v1/namespaces/alice"


class Recorder:
    """Remembers what it was told of requests."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.waits: list[float] = []

    def observe_api_request(self, method: str, status: int) -> None:
        self.requests[method, status] += 1

    def observe_api_wait(self, seconds: float) -> None:
        self.waits.append(seconds)


Connect = Callable[..., Any]


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    """A function that starts a scripted API server and connects to it."""
    async with AsyncExitStack() as stack:

        async def start(*answers: Answer, **options: Any) -> tuple[ScriptedApi, Connection]:
            api = await stack.enter_async_context(scripted_api(*answers))
            path = write_kubeconfig(tmp_path / "kubeconfig", server=api.url, token="t")
            connection = Connection(environment={"KUBECONFIG": str(path)}, **options)
            stack.push_async_callback(connection.close)
            return api, connection

        yield start


@pytest.mark.parametrize(
    "trouble",
    [Answer(429), Answer(500), Answer(502), Answer(503), Answer(504)],
    ids=lambda a: a.status,
)
async def test_a_read_survives_what_passes(connect: Connect, trouble: Answer) -> None:
    recorder = Recorder()
    api, connection = await connect(trouble, trouble, OK, observer=recorder)

    assert await connection.read(PATH) == {"kind": "Thing"}
    assert len(api.asked) == 3
    assert recorder.requests == {("GET", trouble.status): 2, ("GET", 200): 1}


async def test_a_read_survives_connections_that_break(connect: Connect) -> None:
    recorder = Recorder()
    api, connection = await connect(RESET, RESET, RESET, OK, observer=recorder)

    assert await connection.read(PATH) == {"kind": "Thing"}
    assert len(api.asked) == 4
    assert recorder.requests["GET", 0] >= 1  # aiohttp repeats some by itself


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("trouble", [RESET, Answer(500)], ids=["reset", "500"])
async def test_a_write_that_may_be_repeated_survives_it_too(
    connect: Connect, method: str, trouble: Answer
) -> None:
    api, connection = await connect(trouble, OK)

    assert await connection.write(method, PATH, {}) == {"kind": "Thing"}
    assert api.asked == [f"{method} {PATH}"] * 2


@pytest.mark.parametrize("trouble", [RESET, Answer(500), Answer(504)], ids=["reset", "500", "504"])
async def test_a_creation_that_may_have_been_done_is_not_repeated(connect: Connect, trouble: Answer) -> None:
    api, connection = await connect(trouble, OK)

    with pytest.raises(ApiFailure):
        await connection.write("POST", PATH, {})
    assert len(api.asked) == 1


async def test_a_creation_that_was_turned_away_is_repeated(connect: Connect) -> None:
    api, connection = await connect(Answer(429), OK)

    await connection.write("POST", PATH, {})

    assert len(api.asked) == 2


async def test_trouble_that_lasts_is_an_error_after_few_requests(connect: Connect) -> None:
    api, connection = await connect(Answer(503, {"message": "etcd is away"}), attempts=3)

    with pytest.raises(Refused, match="503: etcd is away") as refused:
        await connection.read(PATH)

    assert refused.value.status == 503
    assert len(api.asked) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 422])
async def test_an_answer_that_stands_is_not_asked_for_again(connect: Connect, status: int) -> None:
    api, connection = await connect(Answer(status))

    with pytest.raises(Refused):
        await connection.write("PATCH", PATH, {})
    assert len(api.asked) == 1


async def test_the_time_to_come_back_is_kept(connect: Connect) -> None:
    _, connection = await connect(Answer(429, headers={"Retry-After": "2"}), OK)
    loop_time = asyncio.get_running_loop().time
    began = loop_time()

    await connection.read(PATH)

    assert loop_time() - began >= 2


async def test_a_pause_longer_than_a_look_may_take_is_left_to_the_caller(connect: Connect) -> None:
    api, connection = await connect(Answer(429, headers={"Retry-After": "3600"}), OK)

    with pytest.raises(Refused, match="429"):
        await connection.read(PATH)
    assert len(api.asked) == 1


async def test_an_api_server_that_is_away_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", server="http://127.0.0.1:9")
    recorder = Recorder()
    connection = Connection(environment={"KUBECONFIG": str(path)}, attempts=2, observer=recorder)

    with pytest.raises(ApiFailure, match="does not answer"):
        await connection.write("POST", PATH, {})

    assert recorder.requests == {("POST", 0): 2}  # it never left: also a creation is tried again
    await connection.close()


async def test_writes_pass_the_token_bucket_and_reads_do_not(connect: Connect) -> None:
    recorder = Recorder()
    _, connection = await connect(OK, writes_per_second=2, observer=recorder)

    # more than the four that pass at once, at one time: however slow the machine, the last have to wait
    await asyncio.gather(*(connection.write("PATCH", PATH, {}) for _ in range(8)))
    await asyncio.gather(*(connection.read(PATH) for _ in range(45)))

    assert recorder.requests == {("PATCH", 200): 8, ("GET", 200): 45}
    assert recorder.waits[0] == 0
    assert max(recorder.waits) > 0
    assert len(recorder.waits) == 8


async def test_a_token_that_was_replaced_is_read_again_when_it_is_refused(tmp_path: Path) -> None:
    refusal = Answer(401, {"message": "Unauthorized"})
    async with scripted_api(OK, refusal, OK) as api:
        path = write_kubeconfig(tmp_path / "kubeconfig", server=api.url, token="first")
        connection = Connection(environment={"KUBECONFIG": str(path)})
        await connection.read(PATH)
        write_kubeconfig(path, server=api.url, token="second")

        await connection.read(PATH)

        assert api.tokens == ["first", "first", "second"]
        await connection.close()


async def test_a_token_that_stays_refused_is_an_error_and_no_loop(connect: Connect) -> None:
    api, connection = await connect(Answer(401))

    with pytest.raises(Refused, match="401"):
        await connection.read(PATH)
    assert len(api.asked) == 2
