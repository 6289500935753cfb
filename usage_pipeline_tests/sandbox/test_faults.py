"""The sandbox's faults as they arrive: at the request that was chosen, as often as was said, and as what they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx
import pytest
from click.testing import CliRunner

from usage_pipeline.cli import main
from usage_pipeline.sandbox import puppet, server
from usage_pipeline.sandbox.faults import WAIT, Fault, Faults, read
from usage_pipeline_tests.conftest import NOW, TurnableClock

USAGE = "/puppet/orchestrator/v1/usage?start_date=2026-03-01&end_date=2026-03-03"


@pytest.fixture(scope="module")
def wrong() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def sandbox(wrong: Faults) -> Iterator[httpx.Client]:
    with (
        server.serving(TurnableClock(), faults=wrong) as base,
        httpx.Client(base_url=base, headers={"X-Authentication": puppet.TOKEN}, timeout=5) as client,
    ):
        yield client


def test_faults_come_at_the_chosen_requests_of_the_chosen_path(sandbox: httpx.Client, wrong: Faults) -> None:
    wrong.tell(Fault("503", "/puppet", at=2, times=2), Fault("500", "/consul", times=0))
    statuses = [sandbox.get(USAGE).status_code for _ in range(5)]
    assert statuses == [200, 503, 503, 200, 200]
    assert [sandbox.get("/consul/v1/operator/usage").status_code for _ in range(3)] == [500] * 3
    assert wrong.made == 5
    wrong.tell()
    assert sandbox.get(USAGE).status_code == 200


@pytest.mark.parametrize(
    ("kind", "path", "header", "until"),
    [
        ("429-seconds", USAGE, "retry-after", lambda said: NOW.timestamp() + float(said)),
        ("429-date", USAGE, "retry-after", lambda said: parsedate_to_datetime(said).timestamp()),
        ("429-reset", "/thousandeyes/v7/usage", "x-organization-rate-limit-reset", float),
        ("429-reset", "/launchdarkly/api/v2/usage/mau", "x-ratelimit-reset", lambda said: int(said) / 1000),
    ],
)
def test_each_form_of_wait_names_the_same_time(
    sandbox: httpx.Client, wrong: Faults, kind: str, path: str, header: str, until: object
) -> None:
    wrong.tell(Fault(kind))
    answer = sandbox.get(path)
    assert answer.status_code == 429
    assert until(answer.headers[header]) == (NOW + WAIT).timestamp()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("silent", httpx.ReadTimeout),
        ("reset", httpx.ReadError),
        ("close", httpx.RemoteProtocolError),
        ("too-long", httpx.RemoteProtocolError),
        ("drip-head", httpx.TransportError),
    ],
)
def test_connections_misbehave(sandbox: httpx.Client, wrong: Faults, kind: str, error: type[Exception]) -> None:
    wrong.tell(Fault(kind))
    # The head's drops come faster than that: only one who waits for less than a drop sees a timeout.
    with pytest.raises(error):
        sandbox.get(USAGE, timeout=0.005 if kind == "drip-head" else 0.5)
    assert wrong.made == 1
    wrong.tell()
    assert sandbox.get(USAGE).status_code == 200


def test_a_body_drips(sandbox: httpx.Client, wrong: Faults) -> None:
    wrong.tell(Fault("drip"))
    with sandbox.stream("GET", USAGE) as answer:
        drops = answer.iter_raw()
        assert {drop for _ in range(3) for drop in next(drops)} == {ord(" ")}
    wrong.tell()


def test_slow_is_whole_and_too_short_is_not(sandbox: httpx.Client, wrong: Faults) -> None:
    wrong.tell()
    whole = sandbox.get(USAGE).content
    wrong.tell(Fault("slow"))
    assert sandbox.get(USAGE).content == whole
    wrong.tell(Fault("too-short"))
    assert sandbox.get(USAGE).content == whole[: len(whole) // 2]
    wrong.tell(Fault("truncated"))
    assert sandbox.get(USAGE).content == whole[: len(whole) // 2]


def test_one_place_is_spoilt(sandbox: httpx.Client, wrong: Faults) -> None:
    """Items are told newest first, and `total_nodes` is the first number of each."""
    wrong.tell()
    whole = sandbox.get(USAGE).content
    first = json.loads(whole)["items"][0]["total_nodes"]
    here = b'"total_nodes":' + str(first).encode()
    for kind, said in (
        ("nan", b'"total_nodes":NaN'),
        ("infinity", b'"total_nodes":-Infinity'),
        ("digits", b'"total_nodes":' + b"1234567890" * 4),
        ("fraction", b'"total_nodes":0.' + b"1234567890" * 4),
    ):
        wrong.tell(Fault(kind))
        assert sandbox.get(USAGE).content == whole.replace(here, said, 1)
    wrong.tell(Fault("duplicate"))
    assert sandbox.get(USAGE).content.startswith(b'{"items":[{"date":"2026-03-03","date":"other",')


def test_a_bomb_is_small_until_it_is_unpacked(sandbox: httpx.Client, wrong: Faults) -> None:
    wrong.tell(Fault("bomb"))
    with sandbox.stream("GET", USAGE) as answer:
        packed = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    # All members are alike: one is unpacked.
    assert len(packed) < 2 * 2**20
    member = packed[: len(packed) // 64]
    assert member * 64 == packed
    assert len(gzip.decompress(member)) == 16 * 2**20


def test_what_else_is_answered(sandbox: httpx.Client, wrong: Faults) -> None:
    told = {}
    for kind in ("html", "empty", "error", "content-type", "expired"):
        wrong.tell(Fault(kind))
        answer = sandbox.get(USAGE)
        told[kind] = answer.status_code, answer.headers.get("content-type"), answer.content[:9]
    assert told == {
        "html": (200, "text/html", b"<!DOCTYPE"),
        "empty": (200, "application/json", b""),
        "error": (200, "application/json", b'{"code":"'),
        "content-type": (200, "application/xml", b'{"items":'),
        "expired": (401, "application/json", told["expired"][2]),
    }


def test_pages_lead_back_and_times_lose_their_zone(sandbox: httpx.Client, wrong: Faults) -> None:
    from usage_pipeline.sandbox import thousandeyes

    there = "/thousandeyes/v7/usage/units/tests?startDate=2026-03-01T00:00:00Z&endDate=2026-03-02T00:00:00Z"
    headers = {"Authorization": f"Bearer {thousandeyes.BEARER_TOKEN}"}
    wrong.tell()
    onward = sandbox.get(there, headers=headers).json()["_links"]["next"]["href"]
    wrong.tell(Fault("loop"))
    back = sandbox.get(onward, headers=headers).json()["_links"]["next"]["href"]
    assert "cursor" in onward
    assert "cursor" not in back
    wrong.tell(Fault("same-page"))
    again = sandbox.get(onward, headers=headers).json()
    wrong.tell()
    first, second = (sandbox.get(link, headers=headers).json() for link in (there, onward))
    assert again["breakdowns"] == first["breakdowns"] != second["breakdowns"]
    wrong.tell(Fault("zoneless"))
    quota = sandbox.get("/thousandeyes/v7/usage", headers=headers).json()["usage"]["quota"]
    assert quota["monthStart"].endswith("T08:00:00")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("503", Fault("503")),
        ("429-date path=/puppet at=2 times=3", Fault("429-date", "/puppet", 2, 3)),
        ("nan pick=7 times=0", Fault("nan", times=0, pick=7)),
    ],
)
def test_a_fault_is_read(text: str, fault: Fault) -> None:
    assert read(text) == fault


@pytest.mark.parametrize(
    ("text", "said"),
    [("404", "'404' is no fault; there are: 429"), ("", "'' is no fault"), ("503 at=0", "'at=0' says nothing"),
     ("503 often=2", "'often=2' says nothing"), ("503 path", "'path=' says nothing")],
)  # fmt: skip
def test_a_fault_that_is_none_is_refused_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(text)


def test_the_command_refuses_it_before_anything_is_served() -> None:
    result = CliRunner().invoke(main, ["sandbox", "--fault", "503 at=0"])
    assert result.exit_code != 0
    assert "'at=0' says nothing; write path=TEXT" in result.output
