"""OAuth2 client credentials against real servers: one token for all, renewed in time, and sent nowhere else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from usage_pipeline import kit
from usage_pipeline.contract.answer import Request
from usage_pipeline.contract.errors import CredentialsError, PayloadError, RequestError, TransientError
from usage_pipeline.kit.http import Client, Limits
from usage_pipeline_tests.conftest import TurnableClock

Serve = Callable[[Any], str]
SECRET = "s3cret"
USAGE = Request("/usage")
WAITING = Limits(read=5, whole=5, attempts=2)


class Vendor:
    """An identity service and a usage endpoint, which remember what they were asked for."""

    def __init__(self) -> None:
        self.grants = 0
        self.asked = 0
        self.forms: list[dict[str, list[str]]] = []
        self.agents: set[str] = set()
        self.refused: set[str] = set()
        self.life: dict[str, Any] = {"expires_in": 3600}
        self.outages = 0
        self.slow = 0.0
        self.endpoint: str | None = None
        self.discovered: Response | None = None
        self.body = b"[]"

    def discovery(self, request: Asked) -> Response:
        self.agents.add(request.headers["user-agent"])
        return self.discovered or JSONResponse({"token_endpoint": self.endpoint or f"{request.base_url}token"})

    async def token(self, request: Asked) -> Response:
        form = parse_qs((await request.body()).decode())
        self.forms.append(form)
        if self.outages:
            self.outages -= 1
            return PlainTextResponse("upstream", 503)
        if form["client_secret"] != [SECRET]:
            told = f"The secret {form['client_secret'][0]} has expired"
            return JSONResponse({"error": "invalid_client", "error_description": told}, 400)
        self.grants += 1
        return JSONResponse({"access_token": f"token-{self.grants}", "token_type": "Bearer", **self.life})

    def usage(self, request: Asked) -> Response:
        self.asked += 1
        time.sleep(self.slow)
        given = request.headers["authorization"].removeprefix("Bearer ")
        if given in self.refused or not given.startswith("token-"):
            return Response(b"no", status_code=401)
        return Response(self.body, media_type="application/json", headers={"x-request-id": given})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/openid", self.discovery),
                Route("/token", self.token, methods=["POST"]),
                Route("/usage", self.usage),
            ]
        )


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@contextmanager
def client(
    address: str, clock: TurnableClock, *, secret: str = SECRET, concurrency: int = 4, limits: Limits | None = None
) -> Iterator[Client]:
    with Client(
        address,
        auth=kit.auth.ClientCredentials(f"{address}/openid", "me", secret, clock),
        explain=lambda answer: answer.body.decode(),
        clock=clock,
        sleep=lambda _seconds: None,
        concurrency=concurrency,
        limits=limits,
    ) as made:
        yield made


def token_of(asker: Client) -> str:
    """Asks once; the usage endpoint tells back which token came."""
    return asker.ask(USAGE).headers["x-request-id"]


def test_one_token_serves_many_requests(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    with client(serve(vendor.app()), clock) as asker:
        assert [token_of(asker) for _ in range(5)] == ["token-1"] * 5
    assert vendor.forms == [{"grant_type": ["client_credentials"], "client_id": ["me"], "client_secret": [SECRET]}]
    assert vendor.agents == {"usage-pipeline"}


def test_an_hour_s_token_is_renewed_half_a_minute_before_it_ends(
    serve: Serve, clock: TurnableClock, vendor: Vendor
) -> None:
    with client(serve(vendor.app()), clock) as asker:
        assert token_of(asker) == "token-1"
        clock.advance(seconds=3569)
        assert token_of(asker) == "token-1"
        clock.advance(seconds=1)
        assert token_of(asker) == "token-2"


def test_a_minute_s_token_is_not_renewed_at_every_call(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    vendor.life = {"expires_in": 60}
    with client(serve(vendor.app()), clock) as asker:
        assert token_of(asker) == "token-1"
        clock.advance(seconds=53)
        assert token_of(asker) == "token-1"
        clock.advance(seconds=1)
        assert token_of(asker) == "token-2"


@pytest.mark.parametrize("life", [{}, {"expires_in": None}, {"expires_in": "soon"}, {"expires_in": [1]}])
def test_a_token_of_unknown_life_counts_for_an_hour(
    serve: Serve, clock: TurnableClock, vendor: Vendor, life: dict[str, Any]
) -> None:
    vendor.life = life
    with client(serve(vendor.app()), clock) as asker:
        assert token_of(asker) == "token-1"
        clock.advance(seconds=3569)
        assert token_of(asker) == "token-1"
        clock.advance(seconds=1)
        assert token_of(asker) == "token-2"


@pytest.mark.parametrize("life", [1e300, 10**400], ids=["1e300", "10**400"])
def test_no_token_counts_for_more_than_a_day(serve: Serve, clock: TurnableClock, vendor: Vendor, life: float) -> None:
    vendor.life = {"expires_in": life}
    with client(serve(vendor.app()), clock) as asker:
        assert token_of(asker) == "token-1"
        clock.advance(days=1)
        assert token_of(asker) == "token-2"


@pytest.mark.parametrize("life", [0, -5])
def test_a_token_that_has_ended_is_used_once(serve: Serve, clock: TurnableClock, vendor: Vendor, life: int) -> None:
    vendor.life = {"expires_in": life}
    with client(serve(vendor.app()), clock) as asker:
        assert [token_of(asker), token_of(asker)] == ["token-1", "token-2"]


def test_a_refused_token_is_renewed_once(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    with client(serve(vendor.app()), clock) as asker:
        assert token_of(asker) == "token-1"
        vendor.refused = {"token-1"}
        assert token_of(asker) == "token-2"
        assert token_of(asker) == "token-2"
    assert (vendor.grants, vendor.asked) == (2, 4)


def test_a_second_refusal_stands(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    vendor.refused = {"token-1", "token-2", "token-3"}
    with client(serve(vendor.app()), clock) as asker, pytest.raises(CredentialsError, match="answered 401: no"):
        asker.ask(USAGE)
    assert (vendor.grants, vendor.asked) == (2, 2)


def test_threads_share_one_token(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    """Fewer connections than threads: a refused answer gives its own back before the token is waited for."""
    together = threading.Barrier(16)
    vendor.slow = 0.02

    def one(asker: Client) -> str:
        together.wait()
        return token_of(asker)

    with client(serve(vendor.app()), clock, concurrency=2, limits=WAITING) as asker, ThreadPoolExecutor(16) as pool:
        assert set(pool.map(one, [asker] * 16)) == {"token-1"}
        vendor.refused = {"token-1"}
        assert set(pool.map(one, [asker] * 16)) == {"token-2"}
        assert asker.retries == 0
    assert vendor.grants == 2


def test_a_wrong_secret_is_told_with_the_vendor_s_error(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    with (
        client(serve(vendor.app()), clock, secret="wrong-one") as asker,
        pytest.raises(CredentialsError, match=r"status 400, invalid_client, The secret \*\*\* has expired") as told,
    ):
        asker.ask(USAGE)
    assert "wrong-one" not in str(told.value)
    assert (len(vendor.forms), vendor.asked) == (1, 0)


@pytest.mark.parametrize("life", [{"access_token": None}, {"access_token": ""}, {"access_token": "a\nb"}])
def test_an_answer_without_a_token_is_refused(
    serve: Serve, clock: TurnableClock, vendor: Vendor, life: dict[str, Any]
) -> None:
    vendor.life = life
    with client(serve(vendor.app()), clock) as asker, pytest.raises(CredentialsError, match="gave no access_token"):
        asker.ask(USAGE)
    assert vendor.asked == 0


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://login.example.org/token",
        "http://127.0.0.1.example.org/token",
        "ftp://127.0.0.1/token",
        "file:///etc/passwd",
        "/token",
        "https://",
        "http://[",
        "not an address",
    ],
)
def test_the_secret_is_sent_to_no_plain_or_odd_place(
    serve: Serve, clock: TurnableClock, vendor: Vendor, endpoint: str
) -> None:
    vendor.endpoint = endpoint
    with client(serve(vendor.app()), clock) as asker, pytest.raises(CredentialsError, match="not https"):
        asker.ask(USAGE)
    assert vendor.forms == []


def test_a_foreign_discovery_cannot_point_at_this_machine(clock: TurnableClock) -> None:
    flow = kit.auth.ClientCredentials("https://vendor.example.org/openid", "me", SECRET, clock).sync_auth_flow(
        httpx.Request("GET", "https://vendor.example.org/usage")
    )
    asked = next(flow)
    with pytest.raises(CredentialsError, match="not https"):
        flow.send(httpx.Response(200, json={"token_endpoint": "http://localhost:8080/token"}, request=asked))


def test_https_is_accepted_wherever_it_is(clock: TurnableClock) -> None:
    flow = kit.auth.ClientCredentials("https://vendor.example.org/openid", "me", SECRET, clock).sync_auth_flow(
        httpx.Request("GET", "https://vendor.example.org/usage")
    )
    asked = next(flow)
    posted = flow.send(httpx.Response(200, json={"token_endpoint": "https://login.example.org/t"}, request=asked))
    assert (posted.method, str(posted.url)) == ("POST", "https://login.example.org/t")


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({}),
        JSONResponse([]),
        JSONResponse({"token_endpoint": 7}),
        PlainTextResponse("<html>"),
        PlainTextResponse("nothing here", 404),
        Response(status_code=302, headers={"location": "/elsewhere"}),
    ],
)
def test_a_discovery_that_leads_nowhere_asks_for_another_base_url(
    serve: Serve, clock: TurnableClock, vendor: Vendor, answer: Response
) -> None:
    vendor.discovered = answer
    with client(serve(vendor.app()), clock) as asker, pytest.raises(RequestError, match="Correct base_url"):
        asker.ask(USAGE)
    assert vendor.forms == []


def test_an_identity_service_that_is_down_is_asked_again(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    vendor.outages = 2
    with client(serve(vendor.app()), clock) as asker:
        assert token_of(asker) == "token-1"
        assert asker.retries == 2
    assert (len(vendor.forms), vendor.asked) == (3, 1)


def test_an_identity_service_that_stays_down_is_transient(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    vendor.outages = 99
    with client(serve(vendor.app()), clock) as asker, pytest.raises(TransientError, match="/token answered 503"):
        asker.ask(USAGE)


def test_a_failed_renewal_does_not_lock_out_the_next(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    vendor.outages = 99
    with client(serve(vendor.app()), clock) as asker, ThreadPoolExecutor(4) as pool:
        for failed in [pool.submit(token_of, asker) for _ in range(4)]:
            with pytest.raises(TransientError):
                failed.result(timeout=20)
        vendor.outages = 0
        assert token_of(asker) == "token-1"


def test_a_silent_identity_service_is_not_waited_for_forever(clock: TurnableClock) -> None:
    """The requests for a token have the time limits of the request that needs it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            client(address, clock, limits=Limits(connect=1, read=0.1, attempts=2)) as asker,
            pytest.raises(TransientError, match="ReadTimeout"),
        ):
            asker.ask(USAGE)


def test_answers_of_the_identity_service_are_bounded_too(serve: Serve, clock: TurnableClock, vendor: Vendor) -> None:
    vendor.discovered = Response(b" " * 2**20)
    with (
        client(serve(vendor.app()), clock, limits=Limits(size=2**17)) as asker,
        pytest.raises(PayloadError, match="larger than 131072 bytes"),
    ):
        asker.ask(USAGE)


def test_header_credentials_are_sent_as_they_are() -> None:
    for auth, name, value in (
        (kit.auth.header("X-Consul-Token", "abc"), "x-consul-token", "abc"),
        (kit.auth.bearer("abc"), "authorization", "Bearer abc"),
        (kit.auth.basic("Aladdin", "open sesame"), "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ):
        sent = next(auth.sync_auth_flow(httpx.Request("GET", "http://127.0.0.1/")))
        assert sent.headers[name] == value
