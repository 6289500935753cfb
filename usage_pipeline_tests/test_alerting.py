"""What alerts say, and how they get to a webhook and a mailbox: over real sockets, with bounded patience."""

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from usage_pipeline import alerting, pipeline
from usage_pipeline.alerting import DeliveryError, Mailbox, Missed, RunFailure
from usage_pipeline.contract.errors import ConfigurationError
from usage_pipeline.contract.schema import Aggregation, State, Temporality
from usage_pipeline.contract.time import Days
from usage_pipeline.contract.vendor import Account
from usage_pipeline.pipeline import Place
from usage_pipeline_tests.conftest import NOW, TurnableClock
from usage_pipeline_tests.receivers import PATH, Hook, Post, receiving
from usage_pipeline_tests.sql.lake import Row, Series, configured, covered, small

UI = "http://127.0.0.1:3000"
TEXT = "usage-pipeline: 1 run failed\n- acme/usage: naïve"
MAIL = "smtp://ops%40acme.test@127.0.0.1:{port}?to=on-call+usage@acme.test,boss@acme.test"
ACCOUNT = Account("acme", "puppet", "http://127.0.0.1:1", date(2024, 3, 1), {"token": "ACME_TOKEN"}, ("usage",))


@dataclass
class Outside:
    """A place whose environment a test sets; `pauses` has the seconds that were waited."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    pauses: list[float] = field(default_factory=list)

    @property
    def place(self) -> Place:
        return Place(self.home, str(self.home), TurnableClock(), self.pauses.append, self.environment)

    def deliver(self, text: str = TEXT) -> str:
        return alerting.deliver(self.place, [ACCOUNT], text)


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path, {"ACME_TOKEN": "acme-token"})


@pytest.fixture
def hook(outside: Outside, serve: Callable[[Any], str]) -> Hook:
    found = Hook()
    outside.environment[alerting.WEBHOOK_VARIABLE] = serve(found.app()) + PATH
    return found


@pytest.fixture
def mail(outside: Outside) -> Iterator[Callable[..., Post]]:
    """Start a mail server and configure it; `url` is what the variable holds, with the port left open."""
    with ExitStack() as stack:

        def start(url: str = MAIL, password: str | None = "mail-secret", **kinds: Any) -> Post:
            post = Post(password=password, **kinds)
            port = stack.enter_context(receiving(post))
            outside.environment |= {alerting.MAIL_VARIABLE: url.format(port=port)}
            outside.environment |= {alerting.PASSWORD_VARIABLE: "mail-secret"}
            return post

        yield start


# What is said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("two\n  reasons \n\n", "two; reasons"),
        ("the token acme-token was refused", "the token *** was refused"),
        ("at /?key=s%2Fc%2Br%3Dt1 and s/c+r=t1", "at /?key=*** and ***"),
        ("<!channel> <b>down</b> @all @allison", "(!channel) (b)down(/b) @ all @allison"),
        ("x" * 301, "x" * 297 + "..."),
        # Cut first, it would have kept half of the secret.
        ("x" * 295 + "acme-token", "x" * 295 + "***"),
    ],
)
def test_a_reason_is_one_harmless_line(text: str, said: str) -> None:
    account = replace(ACCOUNT, credentials={"token": "ACME_TOKEN", "key": "ACME_KEY", "unset": "ACME_UNSET"})
    hidden = alerting.secrets([account], {"ACME_TOKEN": "acme-token", "ACME_KEY": "s/c+r=t1"})
    assert alerting.short(alerting.line(text, hidden)) == said


def test_a_secret_that_holds_another_is_hidden_whole() -> None:
    account = replace(ACCOUNT, credentials={"id": "ACME_ID", "token": "ACME_TOKEN"})
    hidden = alerting.secrets([account], {"ACME_ID": "acme-one", "ACME_TOKEN": "acme-one-and-more"})
    assert alerting.line("acme-one-and-more, acme-one", hidden) == "***, ***"


def test_failures_are_gathered_by_source_and_reason() -> None:
    failures = [
        RunFailure("flags/total_mau", "2026-11-01 to 2026-11-03", "3 of 3 days failed: answered 403", "r1"),
        RunFailure("flags/total_mau", "2026-11-04", "1 of 1 days failed: answered 403", "r2"),
        RunFailure("flags/total_mau", "2026-11-05", "1 of 1 days failed: answered 500", "r3"),
        RunFailure("warehouse", "", "the disk is full", "r3"),
    ]
    assert alerting.failures_text(failures, f"{UI}/") == (
        "usage-pipeline: 3 runs failed\n"
        f"- flags/total_mau, 2026-11-04: 1 of 1 days failed: answered 403 (and 1 more run) {UI}/runs/r2\n"
        f"- flags/total_mau, 2026-11-05: 1 of 1 days failed: answered 500 {UI}/runs/r3\n"
        f"- warehouse: the disk is full {UI}/runs/r3"
    )


def test_a_text_is_no_longer_than_a_chat_shows() -> None:
    letters = [chr(ord("a") + number) for number in range(12)]
    failures = [RunFailure(letter, "", "x" * alerting.LONGEST_REASON, letter) for letter in letters]
    text = alerting.failures_text(failures, UI)
    assert text.splitlines()[0] == "usage-pipeline: 12 runs failed"
    assert text.splitlines()[-1] == f"- and 2 more: {UI}/runs"
    assert len(text) < 4_000


def test_missing_days_say_what_to_do() -> None:
    day = Days(date(2026, 11, 20), date(2026, 11, 20))
    missed = [
        Missed("flags", "total_mau", 2, Days(date(2026, 11, 1), date(2026, 11, 20)), "failed", "answered 403"),
        Missed("mesh", "operator_usage", 1, day, "not_available", ""),
    ]
    assert alerting.coverage_text(missed, ["nodes/usage"], date(2026, 11, 20)) == (
        "usage-pipeline: 2 sources with days missing up to 2026-11-20, 1 source recovered\n"
        "- flags/total_mau: 2 days, 2026-11-01 to 2026-11-20: answered 403; the last attempt failed; to fill what can "
        "be filled: usage-pipeline pull --account flags --endpoint total_mau --from 2026-11-01 --to 2026-11-20\n"
        "- mesh/operator_usage: 1 day, 2026-11-20: it was not captured, and is lost; see that the account's hourly "
        "schedule is switched on\n"
        "- nodes/usage: recovered, nothing that was due is missing"
    )


# What was missed


@pytest.mark.parametrize(
    ("now", "deadline", "due"),
    [
        ("2026-03-18 08:59", "", "2026-03-16"),
        ("2026-03-18 09:00", "", "2026-03-17"),
        ("2026-03-18 00:00", "00:00", "2026-03-17"),
        ("2026-03-18 22:29", "22:30", "2026-03-16"),
    ],
)
def test_a_day_is_due_from_the_deadline_of_the_next(now: str, deadline: str, due: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert alerting.due(instant, {alerting.DEADLINE_VARIABLE: deadline}) == date.fromisoformat(due)


def test_a_wrong_deadline_is_named() -> None:
    with pytest.raises(ConfigurationError, match="USAGE_PIPELINE_ALERT_DEADLINE is 'noon'"):
        alerting.due(NOW, {alerting.DEADLINE_VARIABLE: "noon"})


DUE = date(2024, 3, 20)
NODES = Series("puppet", "usage", "nodes", "Nodes", Aggregation.DISTINCT, Temporality.DELTA)
SERVICES = Series("consul", "operator_usage", "services", "Services", Aggregation.LAST, Temporality.INSTANT)
MESH = Account("acme", "consul", "http://127.0.0.1:1", date(2024, 3, 1), {}, ("operator_usage",))


def lacking(outside: Outside, account: Account, coverage: list[Row]) -> list[tuple[int, Days, str, str]]:
    history = pipeline.endpoint_of(account, account.endpoints[0]).history
    small(
        outside.home,
        coverage=coverage,
        accounts=[configured(account.vendor, account.endpoints[0], "2024-03-01", history)],
    )
    found = alerting.missed(outside.place, [account], DUE)
    assert {one.source for one in found} <= {f"acme/{account.endpoints[0]}"}
    return [(one.days, one.span, one.state, one.reason) for one in found]


def test_a_window_lacks_what_nobody_asked_for_and_what_failed(outside: Outside) -> None:
    # Puppet changes a day for 7 days: those from the 14th on may well be provisional.
    coverage = [
        *covered(NODES, "2024-03-01", "2024-03-10"),
        *covered(NODES, "2024-03-13", state=State.FAILED, reason="answered 403: acme-token"),
        *covered(NODES, "2024-03-14", "2024-03-20", State.PROVISIONAL),
    ]
    span = Days(date(2024, 3, 11), date(2024, 3, 13))
    assert lacking(outside, ACCOUNT, coverage) == [(3, span, "failed", "answered 403: ***")]


def test_a_window_lacks_days_that_were_not_asked_for_since_they_settled(outside: Outside) -> None:
    coverage = [
        *covered(NODES, "2024-03-01", "2024-03-12"),
        *covered(NODES, "2024-03-13", "2024-03-20", State.PROVISIONAL),
    ]
    day = Days(date(2024, 3, 13), date(2024, 3, 13))
    assert lacking(outside, ACCOUNT, coverage) == [(1, day, "provisional", "")]


def test_days_after_the_due_one_are_not_missing_yet(outside: Outside) -> None:
    coverage = [
        *covered(NODES, "2024-03-01", "2024-03-13"),
        *covered(NODES, "2024-03-14", "2024-03-20", State.EMPTY),
        *covered(NODES, "2024-03-21", state=State.FAILED, reason="answered 500"),
    ]
    assert lacking(outside, ACCOUNT, coverage) == []


@pytest.mark.parametrize(
    ("state", "reason", "missing"),
    [
        (State.COMPLETE, "", []),
        (State.FAILED, "answered 500", [("failed", "answered 500")]),
        (State.NOT_AVAILABLE, pipeline.NOT_CAPTURED, [("not_available", pipeline.NOT_CAPTURED)]),
        (State.NOT_AVAILABLE, "not in your contract", []),
        (None, "", [("not_available", "")]),
    ],
)
def test_a_snapshot_lacks_the_day_that_was_due(
    outside: Outside, state: State | None, reason: str, missing: list[tuple[str, str]]
) -> None:
    # The 18th and 19th are lost too, and were told of on their days.
    coverage = [
        *covered(SERVICES, "2024-03-01", "2024-03-17"),
        *(covered(SERVICES, "2024-03-20", state=state, reason=reason) if state else []),
        *covered(SERVICES, "2024-03-21"),
    ]
    assert lacking(outside, MESH, coverage) == [(1, Days(DUE, DUE), *one) for one in missing]


def test_before_the_first_load_everything_is_missing(outside: Outside) -> None:
    late = replace(ACCOUNT, name="late", start_date=date(2024, 3, 21))
    mesh = replace(MESH, name="mesh")
    found = alerting.missed(outside.place, [ACCOUNT, mesh, late], DUE)
    assert [(one.source, one.days, one.state) for one in found] == [
        ("acme/usage", 20, "not_asked"),
        ("mesh/operator_usage", 1, "not_available"),
    ]
    assert {one.reason for one in found} == {"nothing was ever loaded"}


# The webhook


def test_a_webhook_gets_a_text(outside: Outside, hook: Hook) -> None:
    assert outside.deliver() == "the webhook at 127.0.0.1"
    assert hook.texts == [TEXT]
    assert outside.pauses == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_webhook_is_asked_again(outside: Outside, hook: Hook, status: int) -> None:
    hook.answers = [PlainTextResponse("later", status), PlainTextResponse("later", status)]
    outside.deliver()
    assert hook.texts == [TEXT]
    assert outside.pauses == [1, 2]


@pytest.mark.parametrize(("asked", "waited"), [("7", 7), ("3600", alerting.LONGEST_PAUSE)])
def test_a_webhook_says_when_to_come_again_within_limits(
    outside: Outside, hook: Hook, asked: str, waited: float
) -> None:
    hook.answers = [PlainTextResponse("later", 429, {"Retry-After": asked})]
    outside.deliver()
    assert outside.pauses == [waited]


def test_patience_has_an_end(outside: Outside, hook: Hook) -> None:
    hook.answers = [PlainTextResponse("down", 503) for _ in range(9)]
    with pytest.raises(DeliveryError, match=r"will be sent again: the webhook at 127\.0\.0\.1 answered 503 down$"):
        outside.deliver()
    assert (hook.asked, outside.pauses) == (3, [1, 2])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (PlainTextResponse("no_service", 404), "answered 404 no_service. Check USAGE_PIPELINE_ALERT_WEBHOOK"),
        (PlainTextResponse(f"nothing at {PATH} for acme-token", 410), "answered 410 nothing at *** for ***. Check"),
        (Response(status_code=302, headers={"Location": "http://127.0.0.1:1"}), "answered 302"),
    ],
)
def test_a_refusal_is_told_once_and_without_secrets(outside: Outside, hook: Hook, answer: Response, said: str) -> None:
    hook.answers = [answer]
    with pytest.raises(DeliveryError) as refused:
        outside.deliver()
    assert said in str(refused.value)
    assert "hook-secret" not in str(refused.value)
    assert (hook.asked, outside.pauses) == (1, [])


def test_a_webhook_that_is_not_there_is_tried_again(outside: Outside, unused: int) -> None:
    outside.environment[alerting.WEBHOOK_VARIABLE] = f"http://127.0.0.1:{unused}{PATH}"
    with pytest.raises(DeliveryError, match=r"cannot be reached \(ConnectError"):
        outside.deliver()
    assert outside.pauses == [1, 2]


@pytest.fixture
def unused() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/s3cret", "ftp://127.0.0.1/s3cret", "s3cret", "https://", "https://a:b/s3cret"]
)
def test_a_wrong_webhook_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ALERT_WEBHOOK must be an address") as refused:
        alerting.receivers({alerting.WEBHOOK_VARIABLE: url})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/s3cret", "http://localhost:1/s3cret", "http://[::1]/s3cret"]
)
def test_a_webhook_is_not_shown(url: str) -> None:
    [found] = alerting.receivers({alerting.WEBHOOK_VARIABLE: url})
    assert "s3cret" not in repr(found)


# Mail


def test_mail_is_handed_in_with_a_password(outside: Outside, mail: Callable[..., Post]) -> None:
    post = mail()
    outside.deliver()
    [taken] = post.mails
    assert taken["Subject"] == "usage-pipeline: 1 run failed"
    assert taken["From"] == "ops@acme.test"
    assert taken["To"] == "on-call+usage@acme.test, boss@acme.test"
    assert taken["Date"] == "Wed, 18 Mar 2026 12:00:00 +0000"
    assert taken.get_content().replace("\r\n", "\n") == f"{TEXT}\n"
    assert [said for said in post.said if said.upper().startswith("RCPT")] == [
        "rcpt TO:<on-call+usage@acme.test>",
        "rcpt TO:<boss@acme.test>",
    ]


def test_mail_without_a_user_is_handed_in_without_a_password(outside: Outside, mail: Callable[..., Post]) -> None:
    post = mail("smtp://127.0.0.1:{port}?to=a@acme.test&from=b@acme.test", password=None)
    outside.deliver()
    assert [taken["From"] for taken in post.mails] == ["b@acme.test"]
    assert not [said for said in post.said if said.startswith("AUTH")]


def test_a_wrong_password_is_told_once(outside: Outside, mail: Callable[..., Post]) -> None:
    mail(password="another")
    with pytest.raises(DeliveryError, match=r"535.*Check USAGE_PIPELINE_ALERT_MAIL_PASSWORD"):
        outside.deliver()
    assert outside.pauses == []


def test_a_mail_server_that_is_busy_is_asked_again(outside: Outside, mail: Callable[..., Post]) -> None:
    post = mail(refusals=["451 grey", "451 grey"])
    outside.deliver()
    assert (len(post.mails), outside.pauses) == (1, [1])


def test_one_of_two_who_gets_it_is_enough(outside: Outside, mail: Callable[..., Post]) -> None:
    post = mail(refusals=["550 no such user"])
    outside.deliver()
    assert (len(post.mails), outside.pauses) == (1, [])


def test_a_mail_server_that_refuses_is_not_asked_again(outside: Outside, mail: Callable[..., Post]) -> None:
    post = mail(refusals=["550 no such user", "550 no such user"])
    with pytest.raises(DeliveryError, match=r"550.*Check USAGE_PIPELINE_ALERT_MAIL$"):
        outside.deliver()
    assert (post.mails, outside.pauses) == ([], [])


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


@pytest.fixture
def beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback counts as the wide world."""
    monkeypatch.setattr(alerting, "loopback", lambda _host: False)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
@pytest.mark.usefixtures("beyond_loopback")
def test_mail_is_encrypted(
    outside: Outside,
    mail: Callable[..., Post],
    tls: ssl.SSLContext,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    post = mail(MAIL.replace("smtp:", f"{scheme}:"), tls=tls, implicit=scheme == "smtps")
    outside.deliver()
    assert len(post.mails) == 1
    assert ("STARTTLS" in post.said) == (scheme == "smtp")


@pytest.mark.usefixtures("beyond_loopback")
def test_an_untrusted_mail_server_gets_no_password(
    outside: Outside, mail: Callable[..., Post], tls: ssl.SSLContext
) -> None:
    post = mail(tls=tls)
    with pytest.raises(DeliveryError, match=r"not trusted here.*SSL_CERT_FILE"):
        outside.deliver()
    assert (post.mails, outside.pauses) == ([], [])
    assert not [said for said in post.said if said.startswith("AUTH")]


@pytest.mark.usefixtures("beyond_loopback")
def test_a_mail_server_that_does_not_encrypt_gets_nothing(outside: Outside, mail: Callable[..., Post]) -> None:
    post = mail()
    with pytest.raises(DeliveryError, match="Beyond loopback mail goes encrypted, or not at all"):
        outside.deliver()
    assert post.mails == []


@pytest.mark.parametrize(
    ("url", "environment", "said"),
    [
        ("post.test", {}, "no smtp:// or smtps:// address"),
        ("smtp://u:s3cret@post.test?to=a@b.c&from=a@b.c", {}, "holds a password; set USAGE_PIPELINE_ALERT_MAIL_PASS"),
        ("smtp://post.test?from=a@b.c", {}, "to is missing"),
        ("smtp://post.test?to=a@b.c", {}, "from is missing"),
        ("smtp://post.test?to=a@b.c&from=a%0D%0Ab@b.c", {}, "is no address of a mailbox"),
        ("smtp://post.test?to=a@b.c&from=a@b.c&cc=d@e.f", {}, "cc: unknown; there are to and from"),
        ("smtp://post.test:many?to=a@b.c&from=a@b.c", {}, "Port could not be cast"),
        ("smtp://u@post.test?to=a@b.c&from=a@b.c", {}, "names a user, and USAGE_PIPELINE_ALERT_MAIL_PASSWORD is not"),
    ],
)
def test_a_wrong_mailbox_is_refused(url: str, environment: Mapping[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        alerting.receivers({alerting.MAIL_VARIABLE: url, **environment})
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "security"),
    [
        ("smtp://post.test?to=a@b.c&from=d@e.f", "post.test", 587, "starttls"),
        ("smtps://post.test?to=a@b.c&from=d@e.f", "post.test", 465, "smtps"),
        ("smtp://localhost:25?to=a@b.c&from=d@e.f", "localhost", 25, "plain"),
    ],
)
def test_a_mailbox_is_encrypted_beyond_loopback(url: str, host: str, port: int, security: str) -> None:
    assert alerting.receivers({alerting.MAIL_VARIABLE: url}) == [
        Mailbox(host, port, security, "d@e.f", ("a@b.c",))  # type: ignore[arg-type] # a parameter is any text
    ]


# Both, or none


def test_mail_is_for_when_the_webhook_does_not_take_it(outside: Outside, hook: Hook, mail: Callable[..., Post]) -> None:
    post = mail()
    outside.deliver()
    assert (hook.texts, post.mails) == ([TEXT], [])
    hook.answers = [PlainTextResponse("no_service", 404)]
    assert outside.deliver().startswith("the mail server 127.0.0.1:")
    [taken] = post.mails
    assert "answered 404 no_service" in taken.get_content()


def test_without_a_receiver_it_says_how_to_name_one(outside: Outside) -> None:
    with pytest.raises(ConfigurationError, match=r"set USAGE_PIPELINE_ALERT_WEBHOOK .* or USAGE_PIPELINE_ALERT_MAIL"):
        outside.deliver()
