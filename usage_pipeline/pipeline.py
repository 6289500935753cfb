"""One endpoint's way from the vendor to the table: wires vendors, kit and stages for Dagster and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from usage_pipeline import config, files, kit, prices, stages
from usage_pipeline.contract.errors import ConfigurationError, NotAvailableError, UsageError
from usage_pipeline.contract.schema import ACCOUNTS, ENTITLEMENTS, PRICES, State, Table
from usage_pipeline.contract.time import DAY, Clock, Days
from usage_pipeline.contract.vendor import Account, Endpoint, History
from usage_pipeline.vendors.registry import VENDORS

if TYPE_CHECKING:
    from usage_pipeline.stages.land import Landed

P = ParamSpec("P")
R = TypeVar("R")

NOT_CAPTURED = "not captured on the day, and the vendor tells only the present"


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are kept and what the outside is: the only way to the clock, the environment and the disk.

    `limits` bound the requests to vendors; None for the usual ones.
    """

    home: Path
    root: str
    clock: Clock
    sleep: Callable[[float], None]
    environment: Mapping[str, str]
    limits: kit.http.Limits | None = None


def place(environment: Mapping[str, str], clock: Clock, sleep: Callable[[float], None]) -> Place:
    """The place that the environment names: USAGE_PIPELINE_HOME, and USAGE_PIPELINE_LAKE for an object store."""
    home = Path(environment.get(config.HOME_VARIABLE) or "data").absolute()
    lake = environment.get(config.LAKE_VARIABLE) or str(home)
    return Place(home, lake.rstrip("/") if "://" in lake else lake, clock, sleep, environment)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking a vendor for `days`, when `at`. `waited` are the seconds that rate limits cost."""

    days: Sequence[date]
    at: datetime
    pieces: Sequence[Landed] = ()
    retries: int = 0
    waited: float = 0.0

    @property
    def failed(self) -> dict[date, UsageError]:
        """Why there is no answer, for each of the days that has none."""
        wanted = set(self.days)
        return {day: piece.error for piece in self.pieces if piece.error for day in piece.days if day in wanted}


@dataclass(slots=True)
class Outcome:
    """What came of some days of one endpoint.

    `states` holds every day that was touched, `rows` and `failures` what was loaded and what went wrong, by day;
    `landed` has the days that the vendor has just answered for. Of the days that were read, `kept` are those with raw
    answers, `through` says up to when the vendor's word reaches, `notes` what the answers say beside the numbers.
    `waited` are the seconds that rate limits cost.
    """

    account: str
    endpoint: str
    states: dict[date, State] = field(default_factory=dict)
    rows: dict[date, int] = field(default_factory=dict)
    failures: dict[date, UsageError] = field(default_factory=dict)
    landed: list[date] = field(default_factory=list)
    kept: set[date] = field(default_factory=set)
    through: dict[date, datetime] = field(default_factory=dict)
    notes: dict[date, tuple[str, ...]] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    waited: float = 0.0

    @property
    def told(self) -> list[date]:
        """The days whose newest answers are in the table."""
        known = {State.COMPLETE, State.PROVISIONAL, State.EMPTY}
        return sorted(day for day, state in self.states.items() if state in known and day not in self.failures)

    def add(self, asked: Asked) -> None:
        """Take in what came of asking."""
        self.retries += asked.retries
        self.waited += asked.waited
        for piece in asked.pieces:
            self.requests += piece.requests
            self.bytes += piece.bytes
            if piece.error is None:
                self.landed += piece.days
        self.failures |= _failures(asked.failed)


def on_disk(function: Callable[Concatenate[Place, P], R]) -> Callable[Concatenate[Place, P], R]:
    """For what writes to the disk: says in one line what is wrong with it."""

    @wraps(function)
    def explained(place: Place, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with files.explained(place.root):
            return function(place, *args, **kwargs)

    return explained


@on_disk
def upgrade(place: Place) -> None:
    """Bring a lake of an older program up to date. Raises ConfigurationError where this one must not write to it."""
    stages.layout.agree(place.root)


def endpoint_of(account: Account, slug: str) -> Endpoint:
    return VENDORS[account.vendor].endpoint(slug)


def ask(place: Place, account: Account, slug: str, days: Iterable[date]) -> Asked:
    """Ask the vendor for those of the days that it can speak of, and keep the answers. Errors are in what is returned.

    Nobody is asked, and no secret needed, where there is no such day.
    """
    vendor = VENDORS[account.vendor]
    endpoint = vendor.endpoint(slug)
    # One present for all that follows: the day may end, and the month with it, while the vendor is asked.
    now = place.clock()
    wanted = stages.land.askable(endpoint, days, now.date())
    if not wanted:
        return Asked((), now)
    try:
        upgrade(place)
        with files.explained(place.root), _client(place, account, slug) as client:
            landed = stages.land.land(
                endpoint,
                account,
                wanted,
                ask=client.ask,
                store=stages.raw.store(place.root),
                clock=lambda: now,
                concurrency=vendor.concurrency,
            )
            return Asked(wanted, now, landed, client.retries, client.waited)
    except UsageError as error:
        return Asked(wanted, now, [stages.land.Landed(span, 0, 0, error) for span in Days.runs(wanted)])


@on_disk
def capture(place: Place, account: Account, slug: str, days: Days, only: Iterable[date] | None = None) -> Outcome:
    """Ask for the days, or for `only` some of them, and keep the answers; the table stays as it is."""
    asked = ask(place, account, slug, days if only is None else only)
    outcome = Outcome(account.name, slug)
    outcome.add(asked)
    found = stages.raw.find(stages.raw.store(place.root), account.vendor, account.name, slug, days)
    outcome.kept = {day for reference in found for day in reference.days if day in days} - asked.failed.keys()
    return outcome


def check(place: Place, account: Account, slug: str) -> None:
    """Send the endpoint's first request for a single day, and keep nothing. Raises UsageError saying what to do."""
    endpoint = endpoint_of(account, slug)
    today = place.clock().date()
    day = today if endpoint.history is History.SNAPSHOT else today - DAY
    with _client(place, account, slug) as client:
        for request in islice(endpoint.requests(account, Days(day, day)), 1):
            client.ask(request)


def _client(place: Place, account: Account, slug: str) -> kit.http.Client:
    vendor = VENDORS[account.vendor]
    return kit.http.Client(
        account.base_url,
        auth=vendor.auth(account, config.secrets(account, place.environment), place.clock),
        explain=vendor.explain,
        clock=place.clock,
        sleep=place.sleep,
        timer=time.monotonic,
        reset_headers=vendor.reset_headers,
        rate=vendor.rate,
        ca_bundle=account.options.get("ca_bundle"),
        concurrency=vendor.concurrency,
        limits=place.limits,
        redacts=vendor.redacts,
        origins=tuple(account.options.get("agents", {}).values()),
        unavailable=vendor.unavailable,
        permission=vendor.endpoint(slug).permission,
    )


def pull(place: Place, account: Account, slug: str, days: Days, only: Iterable[date] | None = None) -> Outcome:
    """Ask for the days, or for `only` some of them, and load all. What failed is in the outcome, and in `coverage`."""
    asked = ask(place, account, slug, days if only is None else only)
    begun = tuple(day for day in days if day <= asked.at.date() and day not in asked.failed)
    outcome = load(place, account, slug, only=begun, failed=asked.failed, now=asked.at)
    outcome.add(asked)
    return outcome


def replay(place: Place, account: Account, slug: str, days: Days) -> Outcome:
    """Load the days again from the raw answers, asking no vendor."""
    return pull(place, account, slug, days, only=())


def incomplete(place: Place, account: Account, slug: str, days: Days) -> list[date]:
    """The days that are not known for good: never asked for, failed, or told while they could still change."""
    upgrade(place)
    known = stages.load.known_for_good(stages.lake.Lake(place.root), endpoint_of(account, slug), account, days)
    return [day for day in days if day not in known]


def raw_answers(place: Place, account: Account, slug: str) -> str:
    """Where the raw answers of an endpoint are kept: a folder of this machine, or the address of one."""
    return f"{place.root.rstrip('/')}/raw/{account.vendor}/{account.name}/{slug}"


def view_of(account: Account, slug: str) -> str:
    """The view of the warehouse that shows an endpoint's rows with columns in place of the maps."""
    return f"{account.vendor}_{slug}"


def _failures(failed: Mapping[date, UsageError]) -> dict[date, UsageError]:
    """Those that somebody should know of: not what the vendor refuses for good."""
    return {day: error for day, error in failed.items() if not isinstance(error, NotAvailableError)}


@on_disk
def load(
    place: Place,
    account: Account,
    slug: str,
    *,
    only: tuple[date, ...],
    failed: Mapping[date, UsageError],
    now: datetime,
) -> Outcome:
    """Load `only` these days from the raw answers, and write down what is known of them and of the `failed` ones.

    `now` is when they were asked for, or when their raw answers are read again.
    """
    upgrade(place)
    endpoint = endpoint_of(account, slug)
    lake = stages.lake.Lake(place.root)
    store = stages.raw.store(place.root)
    outcome = Outcome(account.name, slug)
    outcome.failures |= _failures(failed)
    # Loads of one endpoint take turns on one machine; those of others are told by conflicts (stages.load.usage).
    lock = place.home / ".locks" / f"{account.vendor}.{account.name}.{slug}"
    with stages.lake.alone(lock, f"loading {account.name} {slug}"):
        for span in Days.runs(sorted(only)):
            told = stages.load.usage(lake, endpoint, account, stages.replay.teller(store, endpoint, account, span))
            stages.load.companions(lake, endpoint, account, told)
            # Today is not gone yet: it may still be captured.
            gone = [day for day in span if day < now.date() and day not in told.fetched and day not in told.refused]
            unavailable = dict.fromkeys(gone, NOT_CAPTURED) if endpoint.history is History.SNAPSHOT else {}
            states = stages.load.coverage(
                lake, endpoint, account, told=told, failed={}, unavailable=unavailable, now=now
            )
            outcome.states |= states
            outcome.failures |= told.refused
            outcome.failures |= {
                day: UsageError("; ".join(f"{part}: {why}" for part, why in parts.items()))
                for day, parts in told.missing.items()
                if parts
            }
            outcome.rows |= stages.load.counts(endpoint, told.rows)
            outcome.kept |= set(told.fetched)
            outcome.through |= stages.load.through(endpoint, told.rows)
            outcome.notes |= told.notes
        if failed:
            nothing = stages.replay.Told()
            outcome.states |= stages.load.coverage(
                lake,
                endpoint,
                account,
                told=nothing,
                failed={day: str(error) for day, error in outcome.failures.items() if day in failed},
                unavailable={day: str(error) for day, error in failed.items() if isinstance(error, NotAvailableError)},
                now=now,
            )
    return outcome


@on_disk
def publish(place: Place, configuration: config.Configuration | None = None) -> Path:
    """Make the warehouse show the tables as they are now, and what is configured; without one, as it was."""
    upgrade(place)
    lake = stages.lake.Lake(place.root)
    if configuration and configuration.accounts:
        # What is written wrong today was right before: it stays until it is mended.
        wrong = {problem.account for problem in configuration.problems if problem.account}
        for table, rows in declared(configuration).items():
            stages.declare.declare(lake, table, rows, keep=wrong)
        # A price book that is wrong, which `prices.problems` tells, leaves the prices as they were.
        with suppress(ConfigurationError):
            stages.declare.declare(lake, PRICES, prices.rows(prices.configured(place.environment)))
    return stages.publish.publish(lake, place.home, VENDORS.values())


def declared(configuration: config.Configuration) -> dict[Table, list[dict[str, Any]]]:
    """The rows of the companion tables that tell what is configured."""
    accounts = [
        {
            "vendor": account.vendor,
            "account": account.name,
            "endpoint": slug,
            "history": endpoint_of(account, slug).history.value,
            "start_date": account.start_date,
        }
        for account in configuration.accounts
        for slug in account.endpoints
    ]
    entitlements = [
        {"vendor": account.vendor, "account": account.name, **asdict(entitlement)}
        for account in configuration.accounts
        for entitlement in account.entitlements
    ]
    return {ACCOUNTS: accounts, ENTITLEMENTS: entitlements}


@on_disk
def compact(place: Place) -> tuple[int, int]:
    """Gather small files, publish, and remove what was replaced long ago; the files fewer, and the files removed."""
    upgrade(place)
    lake = stages.lake.Lake(place.root)
    gathered = stages.compact.compact(lake, place.clock().date())
    publish(place)
    return gathered, stages.compact.clean(lake, place.clock())
