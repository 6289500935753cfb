"""Alerts without a paid service: what is said of failed runs and of missed days, and its way to a webhook or a mailbox.

Configured by the environment only. A text is delivered at least once: where it is not known whether it arrived, it is
sent again. No text holds a secret, or markup that a chat would obey.
"""

from __future__ import annotations

import logging
import re
import smtplib
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote, urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from usage_pipeline import pipeline
from usage_pipeline.config import loopback
from usage_pipeline.contract.errors import ConfigurationError, UsageError
from usage_pipeline.contract.time import DAY, Days
from usage_pipeline.contract.vendor import Account, History

if TYPE_CHECKING:
    from usage_pipeline.pipeline import Place

WEBHOOK_VARIABLE = "USAGE_PIPELINE_ALERT_WEBHOOK"
MAIL_VARIABLE = "USAGE_PIPELINE_ALERT_MAIL"
PASSWORD_VARIABLE = "USAGE_PIPELINE_ALERT_MAIL_PASSWORD"  # noqa: S105 - a variable's name
DEADLINE_VARIABLE = "USAGE_PIPELINE_ALERT_DEADLINE"
UI_VARIABLE = "USAGE_PIPELINE_UI"
UI = "http://127.0.0.1:3000"

# The daily loads begin at 03:15 UTC, and a day may need a second attempt.
DEADLINE = time(9, 0)

HOW = (
    f"to be alerted, set {WEBHOOK_VARIABLE} to the address of a webhook (https://...), or {MAIL_VARIABLE} to "
    f"smtp://user@host:587?to=ops@example.com&from=usage@example.com and {PASSWORD_VARIABLE} to the password"
)

SHORTEST_SECRET = 6
LONGEST_REASON = 300
MOST_LINES = 10  # What Slack shows without a fold is 4,000 characters.

ATTEMPTS = 3
TIMEOUT = 5.0  # Seconds. Dagster ends a sensor's tick after a minute.
LONGEST_PAUSE = 10.0

ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
# Days, spans of days, and numbers; a status is no such number.
VARYING = re.compile(r"(answered \d+)|(?:\d{4}-\d\d-\d\d(?: to |, )?)+|\d+")
MENTION = re.compile(r"@(?=(?:all|channel|everyone|here)\b)")


class DeliveryError(UsageError):
    """Nobody took the alert: it is to be sent again."""


class _AgainError(Exception):
    """This attempt failed in a way that another may not. `wait` is what the receiver asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


# What is said


@dataclass(frozen=True, slots=True)
class RunFailure:
    """One step of a run that failed, or a run that failed without one.

    `source` is `account/endpoint`, `days` what the run was asked for, `reason` one line without secrets.
    """

    source: str
    days: str
    reason: str
    run_id: str

    @property
    def kind(self) -> str:
        """The same for failures of one source that differ in days and counts only."""
        return f"{self.source}: " + VARYING.sub(r"\1", self.reason)


@dataclass(frozen=True, slots=True)
class Missed:
    """The days of one endpoint that were due and are not known, or not for good; state and reason of the newest."""

    account: str
    endpoint: str
    days: int
    span: Days
    state: str
    reason: str

    @property
    def source(self) -> str:
        return f"{self.account}/{self.endpoint}"

    @property
    def remedy(self) -> str:
        if self.state == "not_available":
            return "it was not captured, and is lost; see that the account's hourly schedule is switched on"
        pull = (
            f"usage-pipeline pull --account {self.account} --endpoint {self.endpoint} "
            f"--from {self.span.first} --to {self.span.last}"
        )
        done = {"failed": "the last attempt failed", "provisional": "not asked for again since they settled"}
        return f"{done.get(self.state, 'nobody asked')}; to fill what can be filled: {pull}"


def secrets(accounts: Iterable[Account], environment: Mapping[str, str]) -> list[str]:
    """Values that no alert may hold, as they are and as they stand in addresses; the longest first."""
    names = {variable for account in accounts for variable in account.credentials.values()}
    values = [environment.get(name, "") for name in (*names, PASSWORD_VARIABLE, WEBHOOK_VARIABLE)]
    values.append(urlsplit(environment.get(WEBHOOK_VARIABLE, "")).path)
    found = {form for value in values if len(value) >= SHORTEST_SECRET for form in (value, quote(value, safe=""))}
    return sorted(found, key=len, reverse=True)


def line(text: str, secrets: Sequence[str]) -> str:
    """A text from outside as one line: without secrets, and without what would be markup or a mention in a chat."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = "; ".join(" ".join(part.split()) for part in text.splitlines() if part.strip())
    return MENTION.sub("@ ", text.translate(str.maketrans("<>", "()")))


def short(line: str) -> str:
    """As much of a line as an alert has room for. It is cut after its secrets were hidden: half of one is one too."""
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


def failures_text(found: Sequence[RunFailure], ui: str) -> str:
    """One line a source and reason, with the link to its newest run. `ui` is where the Dagster UI is."""
    kinds: dict[str, list[RunFailure]] = {}
    for failure in found:
        kinds.setdefault(failure.kind, []).append(failure)
    lines = []
    for same in kinds.values():
        newest, others = same[-1], len({failure.run_id for failure in same}) - 1
        days = f", {newest.days}" if newest.days else ""
        more = f" (and {others} more {_runs(others)})" if others else ""
        lines.append(f"- {newest.source}{days}: {short(newest.reason)}{more} {_link(ui, newest.run_id)}")
    runs = len({failure.run_id for failure in found})
    return "\n".join([f"usage-pipeline: {runs} {_runs(runs)} failed", *_shown(lines, f"{ui.rstrip('/')}/runs")])


def coverage_text(missed: Sequence[Missed], recovered: Sequence[str], due: date) -> str:
    """What is missing up to the day that was due, one line a source, and what is missing no more."""
    lines = [
        f"- {one.source}: {one.days} {'day' if one.days == 1 else 'days'}, {one.span}: "
        + "; ".join(filter(None, [short(one.reason), one.remedy]))
        for one in missed
    ]
    head = []
    if missed:
        head.append(f"{len(missed)} {_sources(len(missed))} with days missing up to {due}")
    if recovered:
        head.append(f"{len(recovered)} {_sources(len(recovered))} recovered")
    back = [f"- {source}: recovered, nothing that was due is missing" for source in recovered]
    return "\n".join(
        [f"usage-pipeline: {', '.join(head)}", *_shown(lines, "usage-pipeline status"), *_shown(back, "status")]
    )


def _runs(number: int) -> str:
    return "run" if number == 1 else "runs"


def _sources(number: int) -> str:
    return "source" if number == 1 else "sources"


def _link(ui: str, run_id: str) -> str:
    return f"{ui.rstrip('/')}/runs/{run_id}"


def _shown(lines: Sequence[str], rest: str) -> list[str]:
    hidden = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"- and {hidden} more: {rest}"] if hidden > 0 else [])]


# What was missed


def due(now: datetime, environment: Mapping[str, str]) -> date:
    """The last UTC day that must be known by now: yesterday, from the deadline on. Raises ConfigurationError."""
    written = environment.get(DEADLINE_VARIABLE)
    try:
        deadline = time.fromisoformat(written) if written else DEADLINE
    except ValueError:
        raise ConfigurationError(f"{DEADLINE_VARIABLE} is '{written}'; it is a time of day in UTC, as 09:00") from None
    return now.date() - (DAY if now.time() >= deadline.replace(tzinfo=None) else 2 * DAY)


def missed(place: Place, accounts: Sequence[Account], due: date) -> list[Missed]:
    """What the accounts lack through the day that was due, by the published warehouse.

    Where nothing was published yet, every day since an account's start is missing.
    """
    from usage_pipeline import warehouse
    from usage_pipeline.stages.publish import WAREHOUSE

    expected = [
        {
            "account": account.name,
            "endpoint": slug,
            "history": endpoint.history.value,
            "start_date": account.start_date,
            "known_by": due,
            "final_by": due - DAY * -(-endpoint.settles // DAY),
        }
        for account in accounts
        for slug in account.endpoints
        for endpoint in [pipeline.endpoint_of(account, slug)]
        if account.start_date <= due
    ]
    if not expected:
        return []
    if not (place.home / WAREHOUSE).exists():
        return [_never(one, due) for one in expected]
    with warehouse.reading(place.home) as session:
        found = warehouse.ask(
            session, warehouse.query("alerts/missed"), {"expected": expected, "not_captured": pipeline.NOT_CAPTURED}
        )
    hidden = secrets(accounts, place.environment)
    return [
        Missed(account, endpoint, days, Days(first, last), state, line(reason, hidden))
        for account, endpoint, days, first, last, state, reason in found.rows
    ]


def _never(one: Mapping[str, object], due: date) -> Missed:
    start, snapshot = one["start_date"], one["history"] == History.SNAPSHOT.value
    span = Days(due if snapshot or not isinstance(start, date) else start, due)
    state = "not_available" if snapshot else "not_asked"
    return Missed(str(one["account"]), str(one["endpoint"]), len(span), span, state, "nothing was ever loaded")


# How it gets there


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where JSON with a `text` is posted, as Slack, Mattermost and Teams take it. The address is a secret itself."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        return f"the webhook at {urlsplit(self.url).hostname}"

    def send(self, text: str, now: datetime) -> None:
        """Post the text once. Raises DeliveryError, or _AgainError where another attempt may succeed."""
        import httpx

        from usage_pipeline.kit.http import asked_wait, retriable

        try:
            with _unlogged("httpx"), httpx.Client(verify=ssl.create_default_context(), timeout=TIMEOUT) as client:
                answer = client.post(self.url, json={"text": text}, headers={"User-Agent": "usage-pipeline"})
        except httpx.InvalidURL:
            raise DeliveryError(f"{WEBHOOK_VARIABLE} is no address that can be posted to") from None
        except httpx.TransportError as error:
            raise _AgainError(f"{self.name} cannot be reached ({type(error).__name__} {error})") from error
        if answer.is_success:
            return
        told = f"{self.name} answered {answer.status_code} {answer.text}"
        if retriable(answer.status_code):
            raise _AgainError(told, asked_wait(answer.headers, {}, now) or 0)
        raise DeliveryError(f"{told.rstrip()}. Check {WEBHOOK_VARIABLE}")


@contextmanager
def _unlogged(library: str) -> Iterator[None]:
    """Without the library's own log, which tells addresses in full: that of a webhook is a secret."""
    logger = logging.getLogger(library)

    def nothing(_record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where mail is handed in: encrypted from the first byte (`smtps`), by STARTTLS (`starttls`), or `plain`."""

    host: str
    port: int
    security: Literal["smtps", "starttls", "plain"]
    sender: str
    to: tuple[str, ...]
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        return f"the mail server {self.host}:{self.port}"

    def send(self, text: str, now: datetime) -> None:
        """Hand in one mail. Raises DeliveryError, or _AgainError where another attempt may succeed."""
        try:
            with self._session() as session:
                session.send_message(self._message(text, now))
        except smtplib.SMTPAuthenticationError as error:
            raise self._refused(error.smtp_code, error, PASSWORD_VARIABLE) from error
        except smtplib.SMTPResponseException as error:
            raise self._refused(error.smtp_code, error, MAIL_VARIABLE) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise self._refused(max(code for code, _ in error.recipients.values()), error, MAIL_VARIABLE) from error
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(f"{self.name}: {error} Beyond loopback mail goes encrypted, or not at all") from error
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(
                f"{self.name} has a certificate that is not trusted here ({error}). "
                "Set SSL_CERT_FILE to the certificate of its CA"
            ) from error
        except OSError as error:
            raise _AgainError(f"{self.name} cannot be reached ({type(error).__name__} {error})") from error

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        if self.security == "smtps":
            session: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=TIMEOUT, context=ssl.create_default_context()
            )
        else:
            session = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)
        with session:
            if self.security == "starttls":
                session.starttls(context=ssl.create_default_context())
            if self.user:
                session.login(self.user, self.password)
            yield session

    def _message(self, text: str, now: datetime) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = text.partition("\n")[0]
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Date"] = format_datetime(now)
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        # Nobody's holiday notice answers it.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text, cte="quoted-printable")
        return message

    def _refused(self, code: int, error: Exception, variable: str) -> Exception:
        told = f"{self.name} refused the mail: {error}"
        return _AgainError(told) if 400 <= code < 500 else DeliveryError(f"{told}. Check {variable}")


Receiver = Webhook | Mailbox


def receivers(environment: Mapping[str, str]) -> list[Receiver]:
    """Who is configured, in the order in which they are tried. Raises ConfigurationError, which quotes no address."""
    found: list[Receiver] = []
    if url := environment.get(WEBHOOK_VARIABLE):
        found.append(webhook(url))
    if url := environment.get(MAIL_VARIABLE):
        found.append(mailbox(url, environment.get(PASSWORD_VARIABLE, "")))
    return found


def webhook(url: str) -> Webhook:
    """The webhook that an address names. Raises ConfigurationError where it is none, or would go unencrypted."""
    try:
        parts = urlsplit(url.strip())
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and loopback(host))):
        raise ConfigurationError(f"{WEBHOOK_VARIABLE} must be an address: https://..., or http://... on loopback")
    return Webhook(url.strip())


def mailbox(url: str, password: str) -> Mailbox:
    """The mailbox that `smtp://user@host:port?to=...&from=...` names. Raises ConfigurationError."""

    def wrong(what: str) -> ConfigurationError:
        return ConfigurationError(f"{MAIL_VARIABLE}: {what}. It is smtp://user@host:port?to=...&from=...")

    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(str(error)) from None
    if parts.scheme not in {"smtp", "smtps"} or not host:
        raise wrong("is no smtp:// or smtps:// address with a host")
    if parts.password is not None:
        raise wrong(f"holds a password; set {PASSWORD_VARIABLE} to it")
    # Not parse_qs, which reads the + of ops+usage@example.com as a space.
    given = {name: unquote(value) for name, _, value in (part.partition("=") for part in parts.query.split("&"))}
    if strangers := sorted(given.keys() - {"to", "from", ""}):
        raise wrong(f"{', '.join(strangers)}: unknown; there are to and from")
    user = unquote(parts.username) if parts.username else None
    to = tuple(address.strip() for address in given.get("to", "").split(",") if address.strip())
    sender = given.get("from") or (user if user and "@" in user else "")
    if not to:
        raise wrong("to is missing: one address, or several with commas between")
    if not sender:
        raise wrong("from is missing, and the user is no address")
    for address in (sender, *to):
        if not ADDRESS.fullmatch(address):
            raise wrong(f"{address!r} is no address of a mailbox")
    if user and not password:
        raise ConfigurationError(f"{MAIL_VARIABLE} names a user, and {PASSWORD_VARIABLE} is not set")
    if parts.scheme == "smtps":
        return Mailbox(host, port or 465, "smtps", sender, to, user, password)
    return Mailbox(host, port or 587, "plain" if loopback(host) else "starttls", sender, to, user, password)


def deliver(place: Place, accounts: Iterable[Account], text: str) -> str:
    """Hand the text to the first receiver that takes it, and tell its name: mail is for when the webhook does not.

    Raises ConfigurationError where there is no receiver, DeliveryError when none took it.
    """
    hidden = secrets(accounts, place.environment)
    refusals: list[str] = []
    for receiver in receivers(place.environment):
        note = "".join(f"\n({refusal})" for refusal in refusals)
        try:
            _with_patience(place)(receiver.send, text + note, place.clock())
        except (DeliveryError, _AgainError) as error:
            refusals.append(short(line(str(error), hidden)))
        else:
            return receiver.name
    if not refusals:
        raise ConfigurationError(HOW)
    raise DeliveryError(f"the alert was not delivered, and will be sent again: {'; '.join(refusals)}")


def _with_patience(place: Place) -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(_AgainError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=_pause,
        sleep=place.sleep,
        reraise=True,
    )


def _pause(state: RetryCallState) -> float:
    """Seconds: one, then two, or what the receiver asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _AgainError) else 0.0
    return min(LONGEST_PAUSE, max(asked, 2.0 ** (state.attempt_number - 1)))
