"""The HTTP client over real sockets: what is retried and how long, and where no credential ever goes."""

from __future__ import annotations

import gzip
import itertools
import socketserver
import ssl
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from usage_pipeline import kit
from usage_pipeline.contract.answer import Answer, Request
from usage_pipeline.contract.errors import (
    ConfigurationError,
    CredentialsError,
    NotAvailableError,
    PayloadError,
    RequestError,
    TransientError,
    UsageError,
)
from usage_pipeline.kit.http import Client, Limits, asked_wait, retriable
from usage_pipeline_tests.conftest import NOW

TOKEN = "a-very-secret-token"
QUICK = Limits(connect=5, read=5, whole=30, attempts=3, wait=60)
RETRIED = [408, 429, 500, 502, 503, 504, 507, 529, 599]
REFUSED = [400, 401, 403, 404, 405, 409, 410, 422]

Serve = Callable[[Any], str]
Conversation = Callable[[Any], None]


class Pauses(list[float]):
    """A sleep that only notes how long it was asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(address: str, **kinds: Any) -> Client:
    """A client as the pipeline makes one, with quick bounds and pauses that nobody waits for."""
    given: dict[str, Any] = {
        "auth": kit.auth.header("X-Consul-Token", TOKEN),
        "explain": lambda answer: answer.body[:100].decode(),
        "clock": lambda: NOW,
        "sleep": Pauses(),
        "timer": time.monotonic,
        "limits": QUICK,
    }
    return Client(address, **(given | kinds))


def app(answer: Callable[[Asked], Response]) -> Starlette:
    """One handler for every path."""

    async def handler(request: Asked) -> Response:
        return answer(request)

    return Starlette(routes=[Route("/{path:path}", handler, methods=["GET", "POST"])])


def answering(*answers: Response) -> tuple[Starlette, list[Asked]]:
    """An application that gives its answers in turn, the last one for ever; and the requests that it saw."""
    seen: list[Asked] = []

    def answer(request: Asked) -> Response:
        seen.append(request)
        return answers[min(len(seen), len(answers)) - 1]

    return app(answer), seen


@pytest.fixture
def converse() -> Iterator[Callable[..., str]]:
    """Start servers below HTTP: each connection is handed to a function. Yields a function that gives the address."""

    def start(conversation: Conversation, tls: ssl.SSLContext | None = None) -> str:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    talk = tls.wrap_socket(self.request, server_side=True) if tls else self.request
                    with talk:
                        talk.recv(2**16)
                        conversation(talk)
                except OSError:
                    pass  # the client went away, which is what most of these tests are about

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.socket.close()
            thread.join(10)

        stack.callback(stop)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"

    with ExitStack() as stack:
        yield start


def chain(error: BaseException) -> str:
    """All that a log would show of an error."""
    return "".join(traceback.format_exception(error))


# What is asked


def test_an_answer_is_kept_byte_for_byte(serve: Serve) -> None:
    sent = b'{"a": 1.10}\r\n'
    application, _ = answering(Response(sent, media_type="application/json"))
    address = serve(application)
    with client(address) as http:
        request = Request("/usage", (("a", "1"),), part="first")
        answer = http.ask(request)
    assert answer.body == sent
    assert answer.status == 200
    assert answer.request is request
    assert answer.url == f"{address}/usage?a=1"
    assert answer.fetched_at == NOW


@pytest.mark.parametrize("slash", ["", "/"])
def test_paths_are_joined_to_the_prefix_of_the_base_url(serve: Serve, slash: str) -> None:
    application, seen = answering(JSONResponse({}))
    with client(f"{serve(application)}/consul{slash}") as http:
        http.ask(Request("/v1/operator/usage"))
    assert seen[0].url.path == "/consul/v1/operator/usage"


def test_parameters_may_repeat(serve: Serve) -> None:
    application, seen = answering(JSONResponse({}))
    with client(serve(application)) as http:
        http.ask(Request("/", (("groupBy", "b c"), ("from", "1"), ("groupBy", "a&d"))))
    assert seen[0].query_params["from"] == "1"
    assert seen[0].query_params.getlist("groupBy") == ["b c", "a&d"]


def test_a_path_may_bring_its_own_query(serve: Serve) -> None:
    application, seen = answering(JSONResponse({}))
    with client(serve(application)) as http:
        http.ask(Request("/next?cursor=a%2Bb&limit=5"))
    assert seen[0].query_params.multi_items() == [("cursor", "a+b"), ("limit", "5")]


def test_json_is_accepted_unless_the_request_says_otherwise(serve: Serve) -> None:
    application, seen = answering(JSONResponse({}))
    with client(serve(application)) as http:
        http.ask(Request("/"))
        http.ask(Request("/", headers=(("Accept", "application/xml"), ("LD-API-Version", "beta"))))
    assert seen[0].headers.getlist("accept") == ["application/json"]
    assert seen[1].headers.getlist("accept") == ["application/xml"]
    assert seen[1].headers["ld-api-version"] == "beta"


def test_only_headers_of_the_allow_list_are_kept(serve: Serve) -> None:
    told = {
        "X-Consul-Index": "7",
        "X-RateLimit-Remaining": "3",
        "X-Organization-Rate-Limit-Reset": "9",
        "Operation-Id": "o",
        "Retry-After": "1",
        "Set-Cookie": "session=secret",
        "X-Amzn-Trace": "t",
        "Authorization": "secret",
    }
    application, _ = answering(JSONResponse({}, headers=told))
    with client(serve(application)) as http:
        headers = http.ask(Request("/")).headers
    assert set(headers) == {
        "content-type", "date", "x-consul-index", "x-ratelimit-remaining", "x-organization-rate-limit-reset",
        "operation-id", "retry-after",
    }  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "consul.example",
        "ftp://host",
        "https://",
        "https://user:hidden-password@host",
        "https://h/?token=hidden-password",
    ],
)
def test_a_base_url_that_cannot_be_joined_or_would_leak_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as refused:
        client(address)
    assert "hidden-password" not in chain(refused.value)


# What is asked again


@pytest.mark.parametrize("status", RETRIED)
def test_asked_again(serve: Serve, status: int) -> None:
    application, seen = answering(Response("busy", status), JSONResponse({"a": 1}))
    pauses = Pauses()
    with client(serve(application), sleep=pauses) as http:
        assert http.ask(Request("/")).status == 200
        assert http.retries == 1
    assert len(seen) == 2
    assert len(pauses) == 1


@pytest.mark.parametrize("status", REFUSED)
def test_not_asked_again(serve: Serve, status: int) -> None:
    application, seen = answering(Response("because so", status))
    pauses = Pauses()
    kind = CredentialsError if status in {401, 403} else RequestError
    with client(serve(application), sleep=pauses) as http, pytest.raises(kind, match="because so") as refused:
        http.ask(Request("/"))
    assert len(seen) == 1
    assert pauses == []
    assert refused.value.answer is not None
    assert refused.value.answer.status == status
    assert refused.value.answer.body == b"because so"


@pytest.mark.parametrize(
    ("status", "permission", "told"),
    [
        (401, "usage:read", "answered 401: no such token. Check the account's credentials"),
        (
            403,
            "usage:read",
            "answered 403: no such token. Check the account's credentials and their permission (usage:read)",
        ),
        (403, "", "answered 403: no such token. Check the account's credentials and their permission"),
    ],
)
def test_refused_credentials_are_told_with_what_to_check(serve: Serve, status: int, permission: str, told: str) -> None:
    application, _ = answering(Response("no such token.", status))
    with client(serve(application), permission=permission) as http, pytest.raises(CredentialsError) as refused:
        http.ask(Request("/"))
    assert str(refused.value).endswith(told)


@pytest.mark.parametrize("status", REFUSED)
def test_what_the_vendor_calls_unavailable_is_no_mistake_of_anybody(serve: Serve, status: int) -> None:
    application, seen = answering(Response("not for you", status))
    with (
        client(serve(application), unavailable=lambda answer: answer.body == b"not for you") as http,
        pytest.raises(NotAvailableError, match=f"{status}: not for you") as refused,
    ):
        http.ask(Request("/"))
    assert len(seen) == 1
    assert refused.value.answer is not None
    assert refused.value.answer.status == status


def test_only_what_the_vendor_calls_unavailable_is(serve: Serve) -> None:
    """Refusals that it does not call so, what may pass, and answers."""
    application, seen = answering(Response("no", 403), *[Response("", 503)] * 3, Response("there"))
    asked: list[int] = []

    def unavailable(answer: Answer) -> bool:
        asked.append(answer.status)
        return False

    with client(serve(application), unavailable=unavailable) as http:
        with pytest.raises(CredentialsError):
            http.ask(Request("/"))
        with pytest.raises(TransientError):
            http.ask(Request("/"))
        assert http.ask(Request("/")).body == b"there"
    assert len(seen) == 5
    assert asked == [403]


def test_the_one_rule_of_what_is_asked_again() -> None:
    assert [status for status in range(200, 600) if retriable(status)] == [408, 429, *range(500, 600)]


def test_attempts_end_and_the_error_carries_the_last_answer(serve: Serve) -> None:
    application, seen = answering(Response("one", 500), Response("two", 502), Response("three", 503))
    with client(serve(application)) as http, pytest.raises(TransientError, match=r"503: three.*later") as refused:
        http.ask(Request("/"))
    assert len(seen) == 3
    assert refused.value.answer is not None
    assert refused.value.answer.body == b"three"


def test_an_unexplainable_answer_is_still_asked_again(serve: Serve) -> None:
    application, seen = answering(Response("<html>Bad gateway</html>", 502))

    def explain(answer: Answer) -> str:
        return str(kit.payload.json(answer)["message"])

    with client(serve(application), explain=explain) as http, pytest.raises(TransientError, match="Bad gateway"):
        http.ask(Request("/"))
    assert len(seen) == 3


def test_a_read_timeout_is_asked_again(converse: Callable[..., str]) -> None:
    hung = threading.Event()
    asked: list[int] = []

    def conversation(_talk: Any) -> None:
        asked.append(1)
        hung.wait(20)

    limits = replace(QUICK, read=0.3)
    with client(converse(conversation), limits=limits) as http, pytest.raises(TransientError, match="ReadTimeout"):
        http.ask(Request("/"))
    hung.set()
    assert len(asked) == 3


def test_a_dropped_connection_is_asked_again(converse: Callable[..., str]) -> None:
    asked: list[int] = []

    def conversation(talk: Any) -> None:
        asked.append(1)
        if len(asked) == 3:
            talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with client(converse(conversation)) as http:
        assert http.ask(Request("/")).body == b"{}"
    assert len(asked) == 3


def test_a_refused_connection_is_asked_again() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        port = server.server_address[1]
    pauses = Pauses()
    with (
        client(f"http://127.0.0.1:{port}", sleep=pauses) as http,
        pytest.raises(TransientError, match="cannot be reached"),
    ):
        http.ask(Request("/"))
    assert len(pauses) == 2


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[1, 2]\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"[1, 2]")[:-4],
        b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"[1, 2]")[:-8] + b"\0" * 8,
        b"HTTP/1.1 200",
    ],
    ids=["length", "chunked", "gzip", "damaged", "head"],
)
def test_a_truncated_answer_is_never_taken_for_whole(converse: Callable[..., str], cut: bytes) -> None:
    asked: list[int] = []

    def conversation(talk: Any) -> None:
        asked.append(1)
        talk.sendall(cut)

    with client(converse(conversation)) as http, pytest.raises(TransientError):
        http.ask(Request("/"))
    assert len(asked) == 3


# How long is waited


def waits(serve: Serve, status: int = 503, limits: Limits = QUICK, **headers: str) -> tuple[Pauses, str]:
    """The pauses of a client whose server always refuses with these headers, and what it says in the end."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    application, _ = answering(Response("busy", status, told))
    pauses = Pauses()
    resets = {"X-Ratelimit-Reset": 1000, "X-Organization-Rate-Limit-Reset": 1}
    with (
        client(serve(application), sleep=pauses, limits=limits, reset_headers=resets) as http,
        pytest.raises(TransientError) as refused,
    ):
        http.ask(Request("/"))
    return pauses, str(refused.value)


def test_pauses_are_drawn_between_nothing_and_a_bound_that_doubles(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 2

    monkeypatch.setattr("random.uniform", uniform)
    limits = Limits(attempts=8, first_pause=1, longest_pause=10, wait=1000)
    pauses, _ = waits(serve, limits=limits)
    assert drawn[:7] == [(0, 1), (0, 2), (0, 4), (0, 8), (0, 10), (0, 10), (0, 10)]
    assert pauses == [0.5, 1, 2, 4, 5, 5, 5]


def test_pauses_differ_between_clients_and_stay_within_their_bounds(serve: Serve) -> None:
    limits = Limits(attempts=6, first_pause=1, longest_pause=4, wait=1000)
    drawn = [tuple(waits(serve, limits=limits)[0]) for _ in range(3)]
    assert len(set(drawn)) == 3
    for pauses in drawn:
        assert all(0 <= pause <= bound for pause, bound in zip(pauses, [1, 2, 4, 4, 4], strict=True))


def test_the_sum_of_the_pauses_is_capped(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    pauses, _ = waits(serve, limits=Limits(attempts=50, first_pause=10, longest_pause=10, wait=35))
    assert pauses == [10, 10, 10]


def test_retry_after_in_seconds(serve: Serve) -> None:
    pauses, _ = waits(serve, limits=Limits(attempts=2), Retry_After="17")
    assert 17 <= pauses[0] <= 18


def test_retry_after_as_a_date(serve: Serve) -> None:
    at = format_datetime(NOW + timedelta(seconds=25), usegmt=True)
    pauses, _ = waits(serve, limits=Limits(attempts=2), Retry_After=at)
    assert 25 <= pauses[0] <= 26


def test_reset_in_epoch_seconds(serve: Serve) -> None:
    at = int(NOW.timestamp()) + 40
    pauses, _ = waits(serve, 429, Limits(attempts=2), X_Organization_Rate_Limit_Reset=f"{at}")
    assert 40 <= pauses[0] <= 41


def test_reset_in_epoch_milliseconds(serve: Serve) -> None:
    at = int(NOW.timestamp()) * 1000 + 7_500
    pauses, _ = waits(serve, 429, Limits(attempts=2), X_Ratelimit_Reset=f"{at}")
    assert 7.5 <= pauses[0] <= 8.5


def test_a_window_that_is_not_used_up_is_not_waited_for(serve: Serve) -> None:
    at = int(NOW.timestamp()) + 40
    pauses, said = waits(serve, 500, Limits(attempts=2), X_Organization_Rate_Limit_Reset=f"{at}")
    assert pauses[0] <= 1
    assert "wait" not in said


def test_a_wait_beyond_the_cap_ends_at_once_and_says_how_long(serve: Serve) -> None:
    pauses, said = waits(serve, 429, Limits(wait=180), Retry_After="3600")
    assert pauses == []
    assert "asks to wait 3600 s" in said


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Wed, 18 Mar 2026 12:01:00 GMT"}, 60),
        ({"retry-after": "Wed, 18 Mar 2026 13:01:00 +0100"}, 60),
        ({"retry-after": "Wed, 18 Mar 2026 12:01:00 -0000"}, 60),
        ({"retry-after": "Wed, 18 Mar 2026 11:00:00 GMT"}, 0),
        ({"seconds": "1773835230"}, 30),
        ({"seconds": "1773835230.5"}, 30.5),
        ({"milliseconds": "1773835230500"}, 30.5),
        ({"milliseconds": "1773835100000"}, 0),
        ({"seconds": "nan", "retry-after": "3"}, 3),
        ({"seconds": "1773835230", "milliseconds": "1773835290000", "retry-after": "5"}, 90),
        ({"unknown": "1773835230"}, None),
    ],
)
def test_asked_wait(headers: dict[str, str], wait: float | None) -> None:
    # 2026-03-18 12:00:00 UTC is 1773835200: 20,530 days of 86,400 s and 12 h.
    assert 20_530 * 86_400 + 12 * 3_600 == 1_773_835_200 == NOW.timestamp()
    assert asked_wait(headers, {"seconds": 1, "milliseconds": 1000}, NOW) == pytest.approx(wait)


# Where credentials go


AUTHS: dict[str, tuple[Callable[[], httpx.Auth], str]] = {
    "custom": (lambda: kit.auth.header("X-Consul-Token", TOKEN), "x-consul-token"),
    "bearer": (lambda: kit.auth.bearer(TOKEN), "authorization"),
    "basic": (lambda: kit.auth.basic("me", TOKEN), "authorization"),
}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("custom", 301),
        ("custom", 302),
        ("custom", 303),
        ("bearer", 302),
        ("bearer", 307),
        ("basic", 302),
        ("basic", 308),
    ],
)
def test_no_credential_follows_a_redirect_to_another_origin(serve: Serve, kind: str, status: int) -> None:
    make, _ = AUTHS[kind]
    elsewhere, stolen = answering(JSONResponse({}))
    onward = serve(elsewhere)
    application, seen = answering(RedirectResponse(f"{onward}/taken", status))
    with (
        client(serve(application), auth=make()) as http,
        pytest.raises(RequestError, match=rf"redirect to {onward}/taken, not followed.*base_url") as refused,
    ):
        http.ask(Request("/usage"))
    assert len(seen) == 1
    assert stolen == []
    assert refused.value.answer is not None


@pytest.mark.parametrize("onward", ["http://localhost:{port}/", "https://127.0.0.1:{port}/", "//localhost:{port}/"])
def test_another_name_or_scheme_is_another_origin(serve: Serve, onward: str) -> None:
    seen: list[Asked] = []

    def answer(request: Asked) -> Response:
        seen.append(request)
        return RedirectResponse(onward.format(port=request.url.port))

    with client(serve(app(answer))) as http, pytest.raises(RequestError, match="not followed"):
        http.ask(Request("/"))
    assert len(seen) == 1


@pytest.mark.parametrize("kind", AUTHS)
def test_redirects_within_the_origin_are_followed_with_the_credential(serve: Serve, kind: str) -> None:
    make, header = AUTHS[kind]
    application, seen = answering(RedirectResponse("/moved?a=1"), RedirectResponse("/home"), JSONResponse({"a": 1}))
    address = serve(application)
    with client(address, auth=make()) as http:
        answer = http.ask(Request("/usage"))
    assert answer.body == b'{"a":1}'
    assert answer.url == f"{address}/usage"
    assert [request.url.path for request in seen] == ["/usage", "/moved", "/home"]
    assert len({request.headers[header] for request in seen}) == 1


def test_redirects_in_a_circle_end(serve: Serve) -> None:
    application, seen = answering(RedirectResponse("/again"))
    with client(serve(application)) as http, pytest.raises(RequestError, match="redirect to /again"):
        http.ask(Request("/usage"))
    assert len(seen) == 6


def test_a_next_page_at_another_host_gets_no_credential(serve: Serve) -> None:
    elsewhere, stolen = answering(JSONResponse({}))
    application, seen = answering(JSONResponse({}))
    onward = serve(elsewhere)
    with client(serve(application)) as http, pytest.raises(RequestError, match="the credential stays here"):
        http.ask(Request(f"{onward}/page2"))
    assert stolen == seen == []


def test_a_further_origin_that_the_user_named_gets_the_credential(serve: Serve) -> None:
    answers = [answering(JSONResponse({})) for _ in range(3)]
    base, other, stranger = (serve(application) for application, _seen in answers)
    with client(base, origins=[f"{other}/prefix"]) as http:
        http.ask(Request(f"{other}/v1/usage"))
        http.ask(Request("/v1/usage"))
        with pytest.raises(RequestError, match="the credential stays here"):
            http.ask(Request(f"{stranger}/v1/usage"))
    assert [[asked.headers["x-consul-token"] for asked in seen] for _application, seen in answers] == [
        [TOKEN],
        [TOKEN],
        [],
    ]


def test_a_further_origin_that_is_away_is_named() -> None:
    with (
        client("http://127.0.0.1:9", origins=["http://127.0.0.1:10"]) as http,
        pytest.raises(TransientError, match=r"^http://127\.0\.0\.1:10/usage cannot be reached"),
    ):
        http.ask(Request("http://127.0.0.1:10/usage"))


def test_a_next_page_may_be_a_whole_address_at_the_same_origin(serve: Serve) -> None:
    application, seen = answering(JSONResponse({}))
    address = serve(application)
    with client(f"{address}/prefix") as http:
        http.ask(Request(f"{address}/v7/page2?cursor=x"))
    assert seen[0].url.path == "/v7/page2"
    assert seen[0].headers["x-consul-token"] == TOKEN


@pytest.mark.parametrize(("kind", "status"), [("custom", 401), ("custom", 404), ("bearer", 500), ("basic", 403)])
def test_a_vendor_that_repeats_the_credential_does_not_get_it_into_errors(serve: Serve, kind: str, status: int) -> None:
    make, header = AUTHS[kind]
    sent: list[str] = []

    def answer(request: Asked) -> Response:
        sent.append(request.headers[header])
        return Response(f"{sent[0].rpartition(' ')[2]} is unknown", status)

    with client(serve(app(answer)), auth=make()) as http, pytest.raises(UsageError, match=r"\*\*\* is unknown") as told:
        http.ask(Request("/"))
    assert sent[0].rpartition(" ")[2] not in chain(told.value)


class Careless(httpx.Auth):
    """Adds a header without looking at it."""

    def __init__(self, value: str) -> None:
        self.value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["X-Token"] = self.value
        yield request


@pytest.mark.parametrize("secret", [f"{TOKEN}\n", f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN}\udce9"])
def test_a_credential_that_no_header_can_hold_is_not_shown(serve: Serve, secret: str) -> None:
    application, seen = answering(JSONResponse({}))
    auth = Careless(secret)
    with client(serve(application), auth=auth) as http, pytest.raises(ConfigurationError, match="credential") as told:
        http.ask(Request("/"))
    assert TOKEN not in chain(told.value)
    assert seen == []


# Bounds


def test_the_size_of_an_answer_is_bounded(serve: Serve) -> None:
    application, seen = answering(Response(b"x" * 1001), Response(b"x" * 1000))
    with client(serve(application), limits=Limits(size=1000)) as http:
        with pytest.raises(PayloadError, match="larger than 1000 bytes"):
            http.ask(Request("/"))
        assert len(http.ask(Request("/")).body) == 1000
    assert len(seen) == 2


BOMB = gzip.compress(bytes(2**26))


def granting(request: Asked, token: Response) -> Response:
    """An OpenID provider and a vendor in one."""
    if request.url.path == "/discovery":
        return JSONResponse({"token_endpoint": f"http://{request.headers['host']}/token"})
    if request.url.path == "/token":
        return token
    return JSONResponse(request.headers["authorization"])


def oauth(address: str) -> httpx.Auth:
    return kit.auth.ClientCredentials(f"{address}/discovery", "id", "secret", lambda: NOW)


@pytest.mark.parametrize("where", ["/usage", "/token"])
def test_a_bomb_is_not_unpacked(serve: Serve, where: str) -> None:
    bomb = Response(BOMB, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
    token = JSONResponse({"access_token": "t", "expires_in": 3600})

    def answer(request: Asked) -> Response:
        return bomb if request.url.path == where else granting(request, token)

    assert len(BOMB) < 2**17
    address = serve(app(answer))
    with (
        client(address, auth=oauth(address), limits=Limits(size=2**20)) as http,
        pytest.raises(PayloadError, match="larger than 1048576 bytes"),
    ):
        http.ask(Request("/usage"))


def test_gzip_is_unpacked_even_in_several_members(serve: Serve) -> None:
    packed = gzip.compress(b"[1, ") + gzip.compress(b"2]")
    application, seen = answering(Response(packed, headers={"Content-Encoding": "gzip"}))
    with client(serve(application)) as http:
        answer = http.ask(Request("/"))
    assert answer.body == b"[1, 2]"
    assert seen[0].headers["accept-encoding"] == "gzip"


def test_an_empty_answer_said_to_be_packed_is_empty(serve: Serve) -> None:
    application, _ = answering(Response(b"", 204, {"Content-Encoding": "gzip"}))
    with client(serve(application)) as http:
        assert http.ask(Request("/")).body == b""


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip, gzip"])
def test_a_packing_that_was_not_asked_for_is_refused(serve: Serve, coding: str) -> None:
    application, _ = answering(Response(b"xx", headers={"Content-Encoding": coding}))
    with client(serve(application)) as http, pytest.raises(PayloadError, match=f"packed as {coding}"):
        http.ask(Request("/"))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_dripping_body_is_bounded(converse: Callable[..., str], packed: bool) -> None:
    asked: list[int] = []
    # An empty stored block of deflate, for ever: bytes arrive, and nothing is unpacked.
    drop = b"\x00\x00\x00\xff\xff" if packed else b" "
    begin = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" if packed else b""

    def conversation(talk: Any) -> None:
        asked.append(1)
        coding = b"Content-Encoding: gzip\r\n" if packed else b""
        talk.sendall(b"HTTP/1.1 200 OK\r\n" + coding + b"Content-Length: 1000000\r\n\r\n" + begin)
        for _ in range(2000):
            talk.sendall(drop)
            time.sleep(0.01)

    limits = Limits(read=5, whole=0.3, attempts=5)
    with (
        client(converse(conversation), limits=limits) as http,
        pytest.raises(TransientError, match=r"longer than 0\.3 s"),
    ):
        http.ask(Request("/"))
    assert len(asked) == 1


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX-Drip: ", b""], ids=["header", "interim answers"])
def test_an_answer_that_never_begins_is_bounded(converse: Callable[..., str], begin: bytes) -> None:
    """Each byte arrives in time, and so no timeout of a read ever ends it."""
    asked: list[int] = []

    def conversation(talk: Any) -> None:
        asked.append(1)
        talk.sendall(begin)
        for _ in range(2000):
            talk.sendall(b"x" if begin else b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.01)

    limits = Limits(read=5, whole=0.3, attempts=5)
    with (
        client(converse(conversation), limits=limits) as http,
        pytest.raises(TransientError, match=r"longer than 0\.3 s"),
    ):
        http.ask(Request("/"))
    assert len(asked) == 1


def test_a_token_that_drips_is_bounded_too(converse: Callable[..., str]) -> None:
    def conversation(talk: Any) -> None:
        talk.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        for _ in range(2000):
            talk.sendall(b"x")
            time.sleep(0.01)

    address = converse(conversation)
    limits = Limits(read=5, whole=0.3, attempts=5)
    with (
        client(address, auth=oauth(address), limits=limits) as http,
        pytest.raises(TransientError, match=r"longer than 0\.3 s"),
    ):
        http.ask(Request("/"))


def test_a_token_that_is_nested_too_deeply_is_none(serve: Serve) -> None:
    address = serve(app(lambda request: granting(request, Response(b"[" * 100_000))))
    with client(address, auth=oauth(address)) as http, pytest.raises(CredentialsError, match="gave no access_token"):
        http.ask(Request("/"))


def test_no_request_is_without_timeouts() -> None:
    with client("http://127.0.0.1:1", limits=Limits()) as http:
        timeouts = [line.timeout for line in http._lines]
    assert {(timeout.connect, timeout.read) for timeout in timeouts} == {(10, 60)}
    assert all(None not in timeout.as_dict().values() for timeout in timeouts)


def test_the_rate_bounds_requests(serve: Serve) -> None:
    application, seen = answering(JSONResponse({}))
    with client(serve(application), rate=(2, 1)) as http:
        began = time.monotonic()
        for _ in range(5):
            http.ask(Request("/"))
        taken = time.monotonic() - began
    assert len(seen) == 5
    assert taken >= 1.9


def test_the_rate_counts_attempts_too(serve: Serve) -> None:
    application, _ = answering(Response("busy", 503), Response("busy", 503), JSONResponse({}))
    with client(serve(application), rate=(2, 1)) as http:
        began = time.monotonic()
        http.ask(Request("/"))
        assert time.monotonic() - began >= 0.9


def test_the_pauses_after_429_are_counted_as_waits(serve: Serve) -> None:
    application, _ = answering(
        Response("slow", 429, {"Retry-After": "7"}), Response("busy", 503, {"Retry-After": "9"}), JSONResponse({})
    )
    pauses = Pauses()
    with client(serve(application), sleep=pauses) as http:
        http.ask(Request("/"))
        assert http.retries == 2
        assert http.waited == pauses[0]
    assert pauses[0] >= 7


def test_the_waits_for_the_documented_rate_are_counted(serve: Serve) -> None:
    """By a clock that goes on by a second whenever it is looked at."""
    application, _ = answering(JSONResponse({}))
    with client(serve(application), rate=(9, 1), timer=itertools.count().__next__) as http:
        for _ in range(3):
            http.ask(Request("/"))
        assert http.waited == 3


def test_secrets_of_the_vendor_s_are_blanked_before_an_answer_is_kept(serve: Serve) -> None:
    body = b'{"apiKey" : "sdk-\\"1", "key": "production", "inner": [{"mobileKey":"mob-2","apiKeys":"x"}]}'
    application = app(lambda _request: Response(body))
    with client(serve(application), redacts=("apiKey", "mobileKey")) as http:
        kept = http.ask(Request("/")).body
    assert kept == b'{"apiKey" : "***", "key": "production", "inner": [{"mobileKey":"***","apiKeys":"x"}]}'


def test_threads_share_a_client(serve: Serve) -> None:
    """Each of 40 requests is refused once: a 41st retry would be a connection that one thread closed for another."""
    counted: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(request: Asked) -> Response:
        with lock:
            counted[request.url.path] += 1
            return Response("busy", 503) if counted[request.url.path] == 1 else JSONResponse(request.url.path)

    with client(serve(app(answer)), concurrency=3) as http, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: http.ask(Request(f"/{number}")), range(40)))
        assert http.retries == 40
    assert sum(counted.values()) == 80
    assert [answer.body for answer in answers] == [f'"/{number}"'.encode() for number in range(40)]


def test_no_more_requests_run_at_a_time_than_allowed(converse: Callable[..., str]) -> None:
    """Of five that ask, three are with the server: all of them stay until they are three, and then for a fourth."""
    lock, three, four = threading.Lock(), threading.Event(), threading.Event()
    running: list[int] = [0]

    def conversation(talk: Any) -> None:
        with lock:
            running.append(running[-1] + 1)
            for count, reached in ((3, three), (4, four)):
                if running[-1] == count:
                    reached.set()
        three.wait(10)
        four.wait(0.3)
        with lock:
            running.append(running[-1] - 1)
        talk.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")

    with client(converse(conversation), concurrency=3) as http, ThreadPoolExecutor(5) as pool:
        assert [answer.body for answer in pool.map(http.ask, [Request("/")] * 5)] == [b"{}"] * 5
        assert http.retries == 0
    assert max(running) == 3


def test_a_connection_that_never_becomes_free_is_not_waited_for_without_end(converse: Callable[..., str]) -> None:
    begun, release = threading.Event(), threading.Event()

    def conversation(_talk: Any) -> None:
        begun.set()
        release.wait(10)

    given: dict[str, Any] = {"concurrency": 1, "limits": replace(QUICK, whole=0.2), "timer": lambda: 0.0}
    with client(converse(conversation), **given) as http, ThreadPoolExecutor(1) as pool:
        held = pool.submit(http.ask, Request("/"))
        assert begun.wait(10)
        # The one that holds it is cut after as long: whoever waits gives up, or comes next and is cut too.
        with pytest.raises(TransientError, match=r"PoolTimeout no connection became free|longer than 0\.2 s"):
            http.ask(Request("/"))
        with pytest.raises(TransientError, match=r"longer than 0\.2 s"):
            held.result()
        release.set()


# TLS


@pytest.fixture
def https(certificate: Path, converse: Callable[..., str]) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return converse(lambda talk: talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), context)


def test_an_untrusted_certificate_is_refused_with_the_way_out(https: str) -> None:
    pauses = Pauses()
    with client(https, sleep=pauses) as http, pytest.raises(ConfigurationError, match=r"self-signed.*ca_bundle"):
        http.ask(Request("/"))
    assert pauses == []


def test_a_certificate_of_the_ca_bundle_is_trusted(https: str, certificate: Path) -> None:
    with client(https, ca_bundle=str(certificate / "cert.pem")) as http:
        assert http.ask(Request("/")).body == b"{}"


def test_a_certificate_for_another_host_is_refused(https: str, certificate: Path) -> None:
    address = https.replace("127.0.0.1", "localhost")
    bundle = str(certificate / "cert.pem")
    with client(address, ca_bundle=bundle) as http, pytest.raises(ConfigurationError, match="localhost"):
        http.ask(Request("/"))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_bundle_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content:
        bundle.write_text(content)
    with pytest.raises(ConfigurationError, match=r"ca_bundle .*ca\.pem"):
        client("https://127.0.0.1", ca_bundle=str(bundle))


# What the authentication meets


def test_a_token_endpoint_that_is_busy_is_asked_again(serve: Serve) -> None:
    busy = [503, 200]

    def answer(request: Asked) -> Response:
        status = busy.pop(0) if request.url.path == "/token" else 200
        return granting(request, JSONResponse({"access_token": "granted", "expires_in": 3600}, status))

    address = serve(app(answer))
    with client(address, auth=oauth(address)) as http:
        # The server repeats the header that it got, which no answer that is kept shows.
        assert http.ask(Request("/usage")).body == b'"***"'
        assert http.retries == 1


def test_an_identity_service_that_asks_to_wait_is_waited_for(serve: Serve) -> None:
    busy = [429]

    def answer(request: Asked) -> Response:
        if request.url.path == "/token" and busy:
            return Response(status_code=busy.pop(), headers={"Retry-After": "7"})
        return granting(request, JSONResponse({"access_token": "granted", "expires_in": 3600}))

    address, pauses = serve(app(answer)), Pauses()
    with client(address, auth=oauth(address), sleep=pauses) as http:
        http.ask(Request("/usage"))
    assert len(pauses) == 1
    assert 7 <= pauses[0] <= 8


def test_no_auth_is_possible(serve: Serve) -> None:
    application, seen = answering(JSONResponse({}))
    with client(serve(application), auth=None) as http:
        http.ask(Request("/"))
    assert not {"authorization", "x-consul-token"} & set(seen[0].headers)
