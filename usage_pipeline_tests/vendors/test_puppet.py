"""Puppet's answers, from the reference page's example of June 2018."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from usage_pipeline.contract.answer import Answer, Landing, Request
from usage_pipeline.contract.errors import PayloadError
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.stages.normalise import usage
from usage_pipeline.vendors.puppet import PUPPET, PuppetOptions
from usage_pipeline_tests.conftest import NOW, TurnableClock

ENDPOINT = PUPPET.endpoint("usage")
JUNE = Days(date(2018, 6, 1), date(2018, 6, 30))

# The reference page's example, which asked for all of June with events=exclude.
PAGE = b"""{
  "items":[
      {
        "date": "2018-06-08",
        "total_nodes": 100,
        "nodes_with_agent": 95,
        "nodes_without_agent": 5
      }, {
        "date": "2018-06-07",
        "total_nodes": 100,
        "nodes_with_agent": 95,
        "nodes_without_agent": 5
      }, {
        "date": "2018-06-06",
        "total_nodes": 100,
        "nodes_with_agent": 95,
        "nodes_without_agent": 5
      }, {
        "date": "2018-06-05",
        "total_nodes": 100,
        "nodes_with_agent": 95,
        "nodes_without_agent": 5
      }
  ],
  "pagination":{
     "start_date": "2018-06-01",
     "end_date": "2018-06-30"
  }
}"""
NODES = {"date": "2018-06-05", "total_nodes": 100, "nodes_with_agent": 95, "nodes_without_agent": 5}
EVENTS = {
    "corrective_agent_changes": 3,
    "intentional_agent_changes": 41,
    "nodes_affected_by_task_runs": 250,
    "nodes_affected_by_plan_runs": 12,
}


def landing(body: Any, days: Days = JUNE, fetched_at: datetime = NOW, **given: Any) -> Landing:
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    options = PuppetOptions(**given).model_dump()
    account = Account("acme", "puppet", "https://pe.example.com:8143", date(2018, 1, 1), options=options)
    (request,) = ENDPOINT.requests(account, days)
    headers = {"content-type": "application/json"}
    answer = Answer(request, "https://pe.example.com:8143/orchestrator/v1/usage", 200, headers, told, fetched_at)
    return Landing("puppet", "acme", "usage", days, (answer,), fetched_at, options)


def rows(found: Landing) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = usage(ENDPOINT, found, ENDPOINT.normalise(found)).to_pylist()
    return read


def items(*told: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(told), "pagination": {"start_date": "2018-06-01", "end_date": "2018-06-30"}}


def numbers(found: Landing) -> dict[tuple[date, str], Decimal]:
    return {(row["usage_date"], row["metric"]): row["value"] for row in rows(found)}


def refused(body: Any) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        rows(landing(body))
    return caught.value


def test_the_reference_pages_example() -> None:
    """Four days of three numbers. The other 26 days of June are missing, and not zero."""
    assert numbers(landing(PAGE)) == {
        (date(2018, 6, day), metric): value
        for day in (5, 6, 7, 8)
        for metric, value in {"nodes": 100, "nodes_with_agent": 95, "nodes_without_agent": 5}.items()
    }


def test_a_row_is_one_utc_day() -> None:
    for row in rows(landing(items(NODES))):
        assert row["period_start"] == datetime(2018, 6, 5, tzinfo=UTC)
        assert row["period_end"] == datetime(2018, 6, 6, tzinfo=UTC)
        assert row["observed_at"] == row["fetched_at"] == NOW
        assert (row["breakdown"], row["dimensions"], row["month"]) == ("", [], "2018-06")


def test_each_field_is_what_the_vendor_says_it_counts() -> None:
    found = rows(landing(items(NODES | EVENTS)))
    told = {row["metric"]: (row["value"], row["unit"], row["aggregation"], row["temporality"]) for row in found}
    assert told == {
        "nodes": (100, "Nodes", "distinct", "delta"),
        "nodes_with_agent": (95, "Nodes", "last", "delta"),
        "nodes_without_agent": (5, "Nodes", "distinct", "delta"),
        "corrective_agent_changes": (3, "Changes", "sum", "delta"),
        "intentional_agent_changes": (41, "Changes", "sum", "delta"),
        "task_runs_by_node": (250, "Runs", "sum", "delta"),
        "plan_runs_by_node": (12, "Runs", "sum", "delta"),
    }
    assert {row["role"] for row in found} == {"consumed"}


@pytest.mark.parametrize("events", ["include", "exclude"])
def test_an_answer_without_events_has_no_rows_of_them(events: str) -> None:
    """PE 2019 never tells them, whatever is asked for."""
    found = numbers(landing(PAGE, events=events))
    assert {metric for _day, metric in found} == {"nodes", "nodes_with_agent", "nodes_without_agent"}


def test_events_that_only_some_days_tell_stay_with_their_day() -> None:
    """An upgrade in the middle of the range, and one number that is not known."""
    first = NODES | {"date": "2018-06-06"} | EVENTS | {"nodes_affected_by_plan_runs": None}
    found = numbers(landing(items(first, NODES)))
    assert found[date(2018, 6, 6), "task_runs_by_node"] == 250
    assert (date(2018, 6, 6), "plan_runs_by_node") not in found
    assert {metric for day, metric in found if day == date(2018, 6, 5)} == {
        "nodes",
        "nodes_with_agent",
        "nodes_without_agent",
    }


def labels(found: Landing) -> set[tuple[int, tuple[tuple[str, str], ...]]]:
    return {(row["usage_date"].day, tuple(row["labels"])) for row in rows(found)}


def test_labels_tell_which_days_have_event_fields() -> None:
    first = NODES | {"date": "2018-06-06"} | dict.fromkeys(EVENTS)
    assert labels(landing(items(first, NODES))) == {
        (6, (("event_fields", "present"),)),
        (5, (("event_fields", "absent"),)),
    }


def test_an_upgrade_labels_the_rows_and_starts_no_other_series() -> None:
    """The primary server and two compilers are nodes until 2021.7 and none in 2023.7."""
    before, after = (
        rows(landing(items(NODES | {"total_nodes": nodes}), pe_version=version))
        for nodes, version in ((103, "2021.7"), (100, "2023.7"))
    )
    assert [(row["value"], dict(row["labels"])["pe_version"]) for row in (before[0], after[0])] == [
        (103, "2021.7"),
        (100, "2023.7"),
    ]
    assert [row["series_id"] for row in before] == [row["series_id"] for row in after]
    assert all(row["dimensions"] == [] and row["breakdown"] == "" for row in before + after)


def test_a_version_that_is_not_configured_is_no_label() -> None:
    assert labels(landing(items(NODES))) == {(5, (("event_fields", "absent"),))}
    older = landing(items(NODES))
    assert rows(replace(older, options={"ca_bundle": None, "events": "include"})) == rows(older)
    with pytest.raises(ValidationError):
        PuppetOptions(pe_version="")


def test_the_order_of_days_does_not_matter() -> None:
    newest_first = [NODES | {"date": f"2018-06-0{day}", "total_nodes": 100 + day} for day in (8, 7, 6, 5)]
    shuffled = [newest_first[place] for place in (2, 0, 3, 1)]
    found = numbers(landing(items(*newest_first)))
    assert found == numbers(landing(items(*shuffled)))
    assert found[date(2018, 6, 7), "nodes"] == 107


def test_zero_is_a_number() -> None:
    found = numbers(landing(items(NODES | {"nodes_without_agent": 0, "corrective_agent_changes": 0})))
    assert found[date(2018, 6, 5), "nodes_without_agent"] == 0
    assert found[date(2018, 6, 5), "corrective_agent_changes"] == 0


@pytest.mark.parametrize("body", [{"items": []}, {"items": [], "pagination": {}}])
def test_an_answer_without_days_has_no_rows(body: dict[str, Any]) -> None:
    assert rows(landing(body)) == []


def test_a_fraction_is_kept_exactly() -> None:
    told = PAGE.replace(b"100", b"100.100000003", 1)
    assert numbers(landing(told))[date(2018, 6, 8), "nodes"] == Decimal("100.100000003")


def test_a_count_beyond_64_bits_is_kept_exactly() -> None:
    assert (
        numbers(landing(items(NODES | {"total_nodes": 2**64 + 1})))[date(2018, 6, 5), "nodes"] == 18446744073709551617
    )


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"total_nodes": None}, "$.items[1].total_nodes"),
        ({"total_nodes": "100"}, "$.items[1].total_nodes"),
        ({"total_nodes": True}, "$.items[1].total_nodes"),
        ({"total_nodes": 10**39}, "$.items[1].total_nodes"),
        ({"total_nodes": [100]}, "$.items[1].total_nodes"),
        ({"corrective_agent_changes": "3"}, "$.items[1].corrective_agent_changes"),
        ({"nodes_with_windows": 17}, "$.items[1].nodes_with_windows"),
        ({"by_os": {"linux": [1]}}, "$.items[1].by_os.linux[0]"),
        ({"date": "2018_06_05"}, "$.items[1].date"),
        ({"date": "20180605"}, "$.items[1].date"),
        ({"date": "2018-06-05T00:00:00Z"}, "$.items[1].date"),
        ({"date": 20180605}, "$.items[1].date"),
        ({"date": None}, "$.items[1].date"),
        ({"date": "2018-06-31"}, "$.items[1].date"),
        ({"date": "2018-05-31"}, "$.items[1].date"),
        ({"date": "2018-07-01"}, "$.items[1].date"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(changes: dict[str, Any], path: str) -> None:
    assert refused(items(NODES | {"date": "2018-06-06"}, NODES | changes)).path == path


@pytest.mark.parametrize("field", ["date", "total_nodes", "nodes_with_agent", "nodes_without_agent"])
def test_a_field_of_every_version_must_be_there(field: str) -> None:
    told = dict(NODES)
    del told[field]
    assert refused(items(told)).path == f"$.items[0].{field}"


def test_a_day_that_is_told_twice_is_refused() -> None:
    assert "is told twice" in str(refused(items(NODES, NODES)))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"pagination": {}}, "$"),
        ({"items": None}, "$.items"),
        ({"items": {"2018-06-05": 1}}, "$.items"),
        ({"items": [[]]}, "$.items[0]"),
        ({"items": [], "total": 4}, "$.total"),
        ({"items": [], "pagination": {"total": 400, "start_date": "2018-06-01"}}, "$.pagination.total"),
        ([], "$"),
        (b"<html>Sign in</html>", "$"),
        (b"", "$"),
    ],
)
def test_what_is_no_usage_is_refused(body: Any, path: str) -> None:
    """A number in `pagination` would mean pages, and that this answer is not all."""
    assert refused(body).path == path


def test_today_is_provisional_and_a_day_is_final_after_a_week() -> None:
    days = [NOW.date() - timedelta(days=ago) for ago in range(9)]
    told = items(*(NODES | {"date": day.isoformat()} for day in days))
    final = {row["usage_date"]: row["is_final"] for row in rows(landing(told, Days(days[-1], days[0])))}
    # It is noon: the day a week ago ended six and a half days ago, the one before it seven and a half.
    assert final == {day: ago >= 8 for ago, day in enumerate(days)}


def test_one_request_asks_for_the_range_with_both_ends() -> None:
    (answer,) = landing(PAGE, events="exclude").answers
    assert answer.request == Request(
        "/orchestrator/v1/usage",
        params=(("start_date", "2018-06-01"), ("end_date", "2018-06-30"), ("events", "exclude")),
        headers=(("Accept", "application/json"),),
    )


def test_events_are_asked_for_unless_told_otherwise() -> None:
    assert ("events", "include") in landing(PAGE).answers[0].request.params
    with pytest.raises(ValidationError):
        PuppetOptions(events="some")  # type: ignore[arg-type]


def test_the_token_goes_into_its_header() -> None:
    account = Account("acme", "puppet", "https://pe.example.com:8143", date(2018, 1, 1))
    auth = PUPPET.auth(account, {"token": "0s3cr3t"}, TurnableClock())
    assert auth is not None
    sent = next(auth.auth_flow(httpx.Request("GET", "https://pe.example.com:8143/orchestrator/v1/usage")))
    assert sent.headers["X-Authentication"] == "0s3cr3t"
    assert "0s3cr3t" not in str(sent.url)
    assert PUPPET.credentials == (frozenset({"token"}),)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"kind": "puppetlabs.orchestrator/validation-error", "msg": "not a date", "details": {"a": 1}}',
            "puppetlabs.orchestrator/validation-error: not a date",
        ),
        (
            b'{"kind": "puppetlabs.rbac/user-unauthenticated", "msg": "Route requires authentication"}',
            "puppetlabs.rbac/user-unauthenticated: Route requires authentication",
        ),
        (b"<html><body>403 Forbidden</body></html>\n", "<html><body>403 Forbidden</body></html>"),
        (b'{"error": "other"}', '{"error": "other"}'),
        (b'["a"]', '["a"]'),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"", ""),
    ],
)
def test_errors_are_told_in_the_vendors_words(body: bytes, said: str) -> None:
    assert PUPPET.explain(Answer(Request("/orchestrator/v1/usage"), "", 400, {}, body, NOW)) == said
