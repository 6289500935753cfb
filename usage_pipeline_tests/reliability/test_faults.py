"""Whatever a vendor does, a run ends, and leaves the tables as they were or complete; `coverage` says which.

The sandbox makes the faults. What a table should hold is known from runs that nothing disturbed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage_pipeline import pipeline
from usage_pipeline.contract.errors import CredentialsError, TransientError, UsageError
from usage_pipeline.contract.schema import BILLING_PERIODS, COVERAGE, INVENTORY, USAGE, State
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, History
from usage_pipeline.kit.http import Limits
from usage_pipeline.sandbox import faults, server
from usage_pipeline.sandbox.faults import Fault, Faults
from usage_pipeline.vendors.registry import VENDORS
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.contract_world import account, endpoint, place, table, unlimited
from usage_pipeline_tests.reliability import LONG

BEFORE, AFTER, MENDED = NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=2)
DAYS = Days(NOW.date() - 2 * DAY, NOW.date())
KNOWN = {State.COMPLETE, State.PROVISIONAL, State.EMPTY}
HANGS = 60.0
"""Seconds after which a run counts as one that never ends."""

# Eight megabytes are more than any answer of the sandbox.
LIMITS = Limits(connect=5, read=10, whole=60, attempts=6, size=8 * 2**20)
DRIPS = {"drip", "drip-head"}
HASTY = {"silent": replace(LIMITS, read=0.5)} | dict.fromkeys(DRIPS, replace(LIMITS, whole=1))
"""Where waiting is what is tried; a busy machine may take that long for a good answer too, and is asked again."""
SOON_OVER = {"silent", "reset", "close", "too-long", "429", "429-seconds", "429-date", "429-reset", "500", "503"}
"""Faults after which asking again helps, where there are fewer of them than attempts."""
SPOILT = {"digits", "fraction", "zoneless", "duplicate", "loop", "nan", "infinity"}
"""Faults in a place of an answer that may be one that does not matter."""
GARBLED = {"error", "html", "empty", "truncated", "too-short", "bomb"}
"""Answers that nobody could read usage from."""
NO_JSON = {"nan", "infinity", "duplicate"}
"""Faults after which an answer is not to be read, if it is JSON; XML has such a text in one element."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "consul": [{"expect": "catalog"}],
    "thousandeyes": [{"api_version": "v6"}, {"api_version": "v6", "format": "xml"}],
}
PATHS = {"aveva": ["/identity/", "openid-configuration", "/connect/token", "/api/"], "launchdarkly": ["/projects"]}


@dataclass(frozen=True)
class Subject:
    """An endpoint of an account, and what its tables hold after runs that nothing disturbed."""

    account: Account
    slug: str
    clock: TurnableClock
    home: Path

    def pull(self, home: Path, now: datetime, limits: Limits | None = None) -> pipeline.Outcome:
        self.clock.now = now
        where = replace(place(home, self.clock), limits=limits)
        came: Future[pipeline.Outcome] = Future()

        def run() -> None:
            try:
                came.set_result(pipeline.pull(where, self.account, self.slug, DAYS))
            except BaseException as error:  # noqa: BLE001 - told by the future
                came.set_exception(error)

        # Not a pool's, which would be waited for when all is over.
        Thread(target=run, daemon=True).start()
        return came.result(HANGS)

    def replay(self, home: Path) -> None:
        pipeline.replay(place(home, self.clock), self.account, self.slug, DAYS)

    @cached_property
    def days(self) -> list[date]:
        """Those of the days that the vendor can be asked for."""
        return list(DAYS)[-1:] if endpoint(self.account.vendor, self.slug).history is History.SNAPSHOT else list(DAYS)

    @property
    def is_xml(self) -> bool:
        return self.account.options.get("format") == "xml"

    def undisturbed(self, name: str, *times: datetime) -> Path:
        home = self.home / name
        if not home.exists():
            for now in times:
                assert not self.pull(home, now).failures
        return home

    @cached_property
    def before(self) -> Path:
        return self.undisturbed("before", BEFORE)

    @cached_property
    def both(self) -> Path:
        return self.undisturbed("both", BEFORE, AFTER)

    @cached_property
    def mended(self) -> Path:
        return self.undisturbed("mended", BEFORE, MENDED)

    @cached_property
    def after(self) -> Path:
        return self.undisturbed("after", AFTER)


Rows = dict[str, list[dict[str, Any]]]


def read(home: Path) -> Rows:
    """What the tables hold, but for `coverage`."""
    return {of.name: table(home, of) for of in (USAGE, BILLING_PERIODS, INVENTORY)}


def unnamed(rows: Rows) -> Rows:
    """The same without the names of the answers that they were read from."""
    return {name: [row | {"response_id": ""} for row in found] for name, found in rows.items()}


def told(rows: Rows) -> list[tuple[Any, ...]]:
    """The values of each metric and day, whatever they are of."""
    return sorted(tuple(str(row[name]) for name in ("usage_date", "metric", "value")) for row in rows["usage"])


kept = cache(read)
"""The same of a home that changes no more."""


def coverage(home: Path) -> dict[date, dict[str, Any]]:
    return {row["usage_date"]: row for row in table(home, COVERAGE)}  # type: ignore[misc]


class Vendors:
    """The sandbox, what goes wrong there, and the endpoints of the accounts on it."""

    def __init__(self, base: str, wrong: Faults, clock: TurnableClock, home: Path) -> None:
        self.base, self.wrong, self.clock, self.home = base, wrong, clock, home
        self._subjects: dict[str, Subject] = {}

    def subject(self, vendor: str, slug: str, variant: int = 0) -> Subject:
        """An endpoint, with the sandbox's own options or others."""
        name = f"{vendor}-{slug}-{variant}"
        if name not in self._subjects:
            options = [{}, *VARIANTS.get(vendor, [])][variant]
            self._subjects[name] = Subject(account(vendor, self.base, **options), slug, self.clock, self.home / name)
        return self._subjects[name]


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    clock, wrong = TurnableClock(), Faults()
    with pytest.MonkeyPatch.context() as patch, server.serving(clock, faults=wrong) as base:
        # Its minute does not end while the clock stands: this is not the wait that is tried here.
        unlimited(patch)
        yield Vendors(base, wrong, clock, tmp_path_factory.mktemp("undisturbed"))


def disturb(vendors: Vendors, subject: Subject, fault: Fault, fresh: bool) -> tuple[pipeline.Outcome, int]:
    """Pull while the fault is there; check that nothing is half, and that pulling again mends it."""
    reference, start = (subject.after, None) if fresh else (subject.both, subject.before)
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if start:
            shutil.copytree(start, home)
        vendors.wrong.tell(fault)
        try:
            outcome = subject.pull(home, AFTER, HASTY.get(fault.kind, LIMITS))
        finally:
            made = vendors.wrong.made
            vendors.wrong.tell()
        print(f"{fault} was made {made} times")
        for day, error in outcome.failures.items():
            print(f"{day} failed: {type(error).__name__}: {error}")
            assert isinstance(error, UsageError)
            assert len(str(error)) > 20
        whole_or_as_before(subject, home, outcome, fault, start, reference)
        told_by_coverage(subject, home, outcome, fault, start, reference)
        expected(subject, outcome, fault, made)
        if outcome.failures:
            found = read(home)
            subject.replay(home)
            assert read(home) == found
        if start and set(outcome.failures) == set(subject.days):
            assert not subject.pull(home, MENDED).failures
            assert read(home) == kept(subject.mended)
    return outcome, made


def whole_or_as_before(
    subject: Subject, home: Path, outcome: pipeline.Outcome, fault: Fault, start: Path | None, reference: Path
) -> None:
    """Days that failed have the rows that they had, all others those of the undisturbed run."""
    failed = set(outcome.failures)
    found, old, new = read(home), kept(start) if start else {}, kept(reference)
    if fault.kind in SPOILT and failed != set(subject.days):
        # An answer that is spoilt where nobody reads it is another answer all the same.
        found, old, new = map(unnamed, (found, old, new))
    if not failed and (fault.kind in {"digits", "fraction"} or subject.is_xml) and found != new:
        # An id may be any text or number, and rows stand in the order of their ids. A value may not.
        assert told(found) == told(new)
        return
    if not failed or failed == set(subject.days):
        assert found == (old if failed else new) or (failed and not old and not any(found.values()))
        return
    expected = [row for row in old.get("usage", []) if row["usage_date"] in failed]
    expected += [row for row in new["usage"] if row["usage_date"] not in failed]
    keys = [tuple(row[name] for name in USAGE.key) for row in expected]
    assert found["usage"] == [row for _key, row in sorted(zip(keys, expected, strict=True), key=lambda pair: pair[0])]


def told_by_coverage(
    subject: Subject, home: Path, outcome: pipeline.Outcome, fault: Fault, start: Path | None, reference: Path
) -> None:
    found, old, new = coverage(home), coverage(start) if start else {}, coverage(reference)
    for day in subject.days:
        if day not in outcome.failures:
            # How many names there are is told with the day, and is a number that may be spoilt to a longer one.
            spoilt = {"reason": ""} if fault.kind == "digits" and found[day]["reason"].endswith("have labels") else {}
            assert found[day] | spoilt == new[day] | spoilt
            assert found[day]["state"] in KNOWN
            continue
        why = str(outcome.failures[day])
        assert why in found[day]["reason"]
        assert found[day]["attempted_at"] == AFTER
        if day in old:
            assert {**found[day], "attempted_at": None, "reason": ""} == {
                **old[day],
                "attempted_at": None,
                "reason": "",
            }
        else:
            assert found[day]["state"] == State.FAILED
            assert found[day]["rows"] == 0


def expected(subject: Subject, outcome: pipeline.Outcome, fault: Fault, made: int) -> None:
    """What has to come of the fault, where there is no choice."""
    identity = fault.path not in {"", "/api/", "/projects"} or (subject.account.vendor == "aveva" and not fault.path)
    # Of two that are asked at once the list of datacenters may be hit: without numbers or keys, and open to everybody.
    spared = subject.account.options.get("expect") == "catalog" and not outcome.failures
    if not made or (fault.kind in SOON_OVER and 0 < fault.times < LIMITS.attempts - 1) or fault.kind == "slow":
        assert not outcome.failures
    elif fault.kind in SOON_OVER | {"429-tomorrow"} | DRIPS:
        assert set(map(type, outcome.failures.values())) == {TransientError}
    elif fault.kind in GARBLED and not identity:
        assert outcome.failures
        assert fault.kind != "bomb" or all("is larger than" in str(error) for error in outcome.failures.values())
    elif fault.kind in {"nan", "infinity"} and not endpoint(subject.account.vendor, subject.slug).metrics:
        pass  # an answer that tells no number has none to spoil
    elif fault.kind in NO_JSON and fault.at == 1 and not identity and not subject.is_xml:
        why = "twice" if fault.kind == "duplicate" else "not JSON"
        assert any(why in str(error) for error in outcome.failures.values()) or spared
    elif fault.kind == "expired" and not identity:
        renewed = subject.account.vendor == "aveva" and fault.times == 1
        assert set(map(type, outcome.failures.values())) == (set() if renewed else {CredentialsError}) or spared


FIRST = {
    "consul": "operator_usage",
    "aveva": "namespace_usage",
    "thousandeyes": "units_tests",
    "launchdarkly": "service_connections",
    "puppet": "usage",
}


ASKED = {"aveva": "/api/", "launchdarkly": "/usage/"}
"""Where the first request is not for usage, what the path of one has."""


@pytest.mark.parametrize("kind", sorted(faults.KINDS))
@pytest.mark.parametrize("vendor", FIRST)
def test_every_fault_at_every_vendor_leaves_nothing_half(vendors: Vendors, vendor: str, kind: str) -> None:
    """At the second request where there is one: another page, or another question."""
    second = vendor in {"thousandeyes", "launchdarkly"}
    fault = Fault(kind, ASKED.get(vendor, ""), at=2 if second else 1)
    _outcome, made = disturb(vendors, vendors.subject(vendor, FIRST[vendor]), fault, fresh=False)
    assert made == 1


@pytest.mark.parametrize("kind", ["silent", "reset", "429-date", "503"])
@pytest.mark.parametrize("vendor", FIRST)
def test_what_never_ends_is_given_up(vendors: Vendors, vendor: str, kind: str) -> None:
    """`expected` says with which error."""
    outcome, made = disturb(vendors, vendors.subject(vendor, FIRST[vendor]), Fault(kind, times=0), fresh=True)
    assert outcome.failures
    assert made >= LIMITS.attempts


@pytest.mark.parametrize("kind", ["digits", "fraction"])
@pytest.mark.parametrize("vendor", FIRST)
def test_a_number_that_does_not_fit_is_refused_and_not_rounded(vendors: Vendors, vendor: str, kind: str) -> None:
    """The first number of each answer is one of the values."""
    subject = vendors.subject(vendor, FIRST[vendor])
    outcome, _made = disturb(vendors, subject, Fault(kind, ASKED.get(vendor, "")), fresh=False)
    assert any("does not fit 29 digits and 9 decimals" in str(error) for error in outcome.failures.values())


def test_pages_that_lead_back_are_refused(vendors: Vendors) -> None:
    subject = vendors.subject("thousandeyes", "units_tests")
    outcome, _made = disturb(vendors, subject, Fault("loop", times=0), fresh=False)
    assert outcome.failures.keys() == set(subject.days)
    assert all("never end" in str(error) for error in outcome.failures.values())


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, int, Fault, bool]:
    """Vendor, endpoint, variant of its options, fault, and whether the lake is empty."""
    vendor = draw(st.sampled_from(sorted(VENDORS)))
    slug = draw(st.sampled_from([found.slug for found in VENDORS[vendor].endpoints]))
    variants = len(VARIANTS.get(vendor, [])) if slug in {"usage", "operator_usage"} else 0
    fault = Fault(
        draw(st.sampled_from(sorted(faults.KINDS))),
        draw(st.sampled_from(["", *PATHS.get(vendor, [])])),
        at=draw(st.integers(1, 5)),
        times=draw(st.sampled_from([1, 2, 3, 0])),
        pick=draw(st.integers(0, 999)),
    )
    return vendor, slug, draw(st.integers(0, variants)), fault, draw(st.booleans())


@settings(
    max_examples=4000 if LONG else 50,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cases())
def test_generated_faults_leave_nothing_half(vendors: Vendors, case: tuple[str, str, int, Fault, bool]) -> None:
    vendor, slug, variant, fault, fresh = case
    disturb(vendors, vendors.subject(vendor, slug, variant), fault, fresh)
