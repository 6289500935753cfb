"""Raw answers: byte for byte, with receipts, and nothing asked that cannot be told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import zstandard

from usage_pipeline import stages
from usage_pipeline.contract.answer import Landing, Request
from usage_pipeline.contract.errors import PayloadError, TransientError
from usage_pipeline_tests.stages.invented import ACCOUNT, SNAPSHOT, WINDOW, Bench, at, days_of, on


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, answer=lambda request: {str(day): 1 for day in days_of(request)})


def test_a_body_is_kept_byte_for_byte_with_its_receipt(bench: Bench) -> None:
    bench.answer = lambda _request: b'{ "2026-03-01" :  1.50 }\n'
    bench.land(WINDOW, on("2026-03-01"))
    (body,) = bench.home.rglob("*.json.zst")
    assert zstandard.ZstdDecompressor().decompress(body.read_bytes()) == b'{ "2026-03-01" :  1.50 }\n'
    receipt = json.loads((body.parent / "receipt.json").read_text())
    (answer,) = receipt["answers"]
    assert (receipt["first"], receipt["last"], receipt["options"]) == ("2026-03-01", "2026-03-01", {"colour": "red"})
    # sha256sum of the 25 bytes above
    assert answer["sha256"] == hashlib.sha256(b'{ "2026-03-01" :  1.50 }\n').hexdigest()
    assert (answer["status"], answer["bytes"], answer["path"]) == (200, 25, "/usage")
    assert answer["params"] == [["from", "2026-03-01"], ["to", "2026-03-01"]]


def test_a_landing_reads_back_as_it_was(bench: Bench) -> None:
    bench.land(WINDOW, on("2026-03-01", "2026-03-03"))
    (reference,) = stages.raw.find(bench.store, "invented", "acme", "window", on("2026-03-02"))
    landing = stages.raw.read(bench.store, reference)
    assert landing.days == on("2026-03-01", "2026-03-03")
    assert landing.options == ACCOUNT.options
    assert [answer.request for answer in landing.answers] == bench.asked
    assert landing.answers[0].fetched_at == bench.now


def test_a_changed_body_is_refused(bench: Bench) -> None:
    bench.land(WINDOW, on("2026-03-01"))
    (body,) = bench.home.rglob("*.json.zst")
    body.write_bytes(zstandard.ZstdCompressor().compress(b'{"2026-03-01": 2}'))
    (reference,) = stages.raw.find(bench.store, "invented", "acme", "window", on("2026-03-01"))
    with pytest.raises(stages.raw.CorruptError, match="the hash differs"):
        stages.raw.read(bench.store, reference)


def test_a_landing_without_its_receipt_does_not_exist(bench: Bench) -> None:
    bench.land(WINDOW, on("2026-03-01"))
    next(bench.home.rglob("receipt.json")).unlink()
    assert stages.raw.find(bench.store, "invented", "acme", "window", on("2026-03-01")) == []


def test_a_range_is_asked_in_the_fewest_legal_pieces_and_never_beyond_today(bench: Bench) -> None:
    landed = bench.land(WINDOW, on("2026-02-26", "2026-03-31"))
    # 26 February to 18 March, today, are 21 days: pieces of 10, 10 and 1.
    assert sorted(str(days_of(request)) for request in bench.asked) == [
        "2026-02-26 to 2026-03-07", "2026-03-08 to 2026-03-17", "2026-03-18",
    ]  # fmt: skip
    assert [len(piece.days) for piece in landed] == [10, 10, 1]


def test_a_piece_that_fails_lets_the_others_land(bench: Bench) -> None:
    def answer(request: Request) -> Any:
        days = days_of(request)
        return TransientError("busy") if date(2026, 3, 10) in days else {str(day): 1 for day in days}

    bench.answer = answer
    landed = bench.land(WINDOW, on("2026-02-26", "2026-03-18"))
    assert [str(piece.error or "") for piece in landed] == ["", "busy", ""]
    assert len(list(bench.home.rglob("receipt.json"))) == 2


def test_the_answer_of_a_failure_is_kept_but_never_read(bench: Bench) -> None:
    error = PayloadError("$", "too large")
    error.answer = replace(bench.ask(Request("/x", (("from", "2026-03-01"), ("to", "2026-03-01")))), status=500)
    bench.answer = lambda _request: error
    bench.land(WINDOW, on("2026-03-01"))
    (failure,) = bench.home.rglob("failure.json")
    assert json.loads(failure.read_text())["error"] == "$: too large"
    assert stages.raw.find(bench.store, "invented", "acme", "window", on("2026-03-01")) == []


@pytest.mark.parametrize(
    ("failing", "error"),
    [((), ""), (("/a",), ""), (("/b",), ""), (("/a", "/b"), "/a is away"), (("/c",), "/c is away")],
)
def test_a_request_apart_fails_alone_unless_all_of_them_do(bench: Bench, failing: tuple[str, ...], error: str) -> None:
    """Of /a and /b one must be answered, /c in any case."""
    asked = (Request("/a", part="a", apart=True), Request("/b", part="b", apart=True), Request("/c", part="c"))

    def answer(request: Request) -> Any:
        return TransientError(f"{request.path} is away") if request.path in failing else {}

    bench.answer = answer
    (landed,) = bench.land(replace(WINDOW, requests=lambda _account, _days: asked), on("2026-03-01"))
    assert str(landed.error or "") == error
    kept = stages.raw.find(bench.store, "invented", "acme", "window", on("2026-03-01"))
    assert len(kept) == (not error)
    for reference in kept:
        parts = [answer.request.part for answer in stages.raw.read(bench.store, reference).answers]
        assert parts == [request.part for request in asked if request.path not in failing]


def test_the_error_answer_of_a_request_apart_is_kept_in_the_landing(bench: Bench) -> None:
    error = TransientError("busy")
    error.answer = replace(bench.ask(Request("/x", (("from", "2026-03-01"), ("to", "2026-03-01")))), status=500)
    asked = (Request("/a", apart=True), Request("/b", apart=True))
    bench.answer = lambda request: error if request.path == "/a" else {}
    bench.land(replace(WINDOW, requests=lambda _account, _days: asked), on("2026-03-01"))
    (reference,) = stages.raw.find(bench.store, "invented", "acme", "window", on("2026-03-01"))
    assert [answer.status for answer in stages.raw.read(bench.store, reference).answers] == [500, 200]


def test_a_snapshot_is_asked_for_today_only(bench: Bench) -> None:
    bench.answer = lambda _request: {"used": 1}
    assert bench.land(SNAPSHOT, on("2026-03-01", "2026-03-17")) == []
    assert bench.land(SNAPSHOT, on("2026-03-19")) == []
    assert bench.asked == []
    (landed,) = bench.land(SNAPSHOT, on("2026-03-01", "2026-03-31"))
    assert landed.days == on("2026-03-18")


def test_pages_are_followed_and_a_loop_is_found(bench: Bench) -> None:
    def request(page: int) -> Request:
        return Request("/usage", (("from", "2026-03-01"), ("to", "2026-03-01"), ("page", str(page))))

    first = Request("/usage", (("from", "2026-03-01"), ("to", "2026-03-01")))
    onward = {first: request(2), request(2): request(3)}
    paged = replace(WINDOW, follow=lambda answer: onward.get(answer.request))
    (landed,) = bench.land(paged, on("2026-03-01"))
    assert landed.requests == 3
    endless = replace(WINDOW, follow=lambda _answer: request(2))
    (landed,) = bench.land(endless, on("2026-03-01"))
    assert "never end" in str(landed.error)


def modes(home: Path) -> set[tuple[bool, int]]:
    """What is allowed, of folders and files."""
    return {(path.is_dir(), path.stat().st_mode & 0o777) for path in (home / "raw", *(home / "raw").rglob("*"))}


def test_every_folder_and_file_is_its_owner_s_alone(bench: Bench) -> None:
    bench.land(WINDOW, on("2026-03-01"))
    assert modes(bench.home) == {(True, 0o700), (False, 0o600)}


def test_what_an_older_program_kept_becomes_private_once(bench: Bench) -> None:
    bench.land(WINDOW, on("2026-03-01"))
    raw = bench.home / "raw"
    for path in (raw, *raw.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    stages.raw.store(str(bench.home))
    assert modes(bench.home) == {(True, 0o700), (False, 0o600)}
    # Below a vendor that is private already nobody looks again: a store of years is not walked at every run.
    (receipt,) = raw.rglob("receipt.json")
    receipt.chmod(0o640)
    stages.raw.store(str(bench.home))
    assert receipt.stat().st_mode & 0o777 == 0o640


def test_what_is_kept_is_listed_by_vendor_account_and_endpoint(bench: Bench) -> None:
    assert stages.raw.endpoints(bench.store) == []
    for vendor, account, slug in (("b", "two", "usage"), ("a", "one", "usage"), ("a", "one", "agents")):
        landing = Landing(vendor, account, slug, on("2026-03-01"), (), at("2026-03-18"), {})
        stages.raw.write(bench.store, landing, error="nobody answered")
    assert stages.raw.endpoints(bench.store) == [("a", "one", "agents"), ("a", "one", "usage"), ("b", "two", "usage")]


def test_a_landing_is_named_by_its_days_its_instant_and_its_first_answer(bench: Bench) -> None:
    bench.land(WINDOW, on("2026-03-01", "2026-03-02"))
    (reference,) = stages.raw.attempts(bench.store, ACCOUNT.vendor, ACCOUNT.name, WINDOW.slug)
    landing = stages.raw.read(bench.store, reference)
    (answer,) = landing.answers
    folder = f"invented/acme/window/2026-03-01--2026-03-02/20260318T120000.000000Z-{answer.response_id}"
    assert (reference.path, reference.at, reference.failed) == (f"{folder}/receipt.json", at("2026-03-18"), False)
    nothing = replace(landing, endpoint=SNAPSHOT.slug, answers=())
    assert stages.raw.write(bench.store, nothing, error="gone").rpartition("-")[2] == "none"
    (failed,) = stages.raw.attempts(bench.store, ACCOUNT.vendor, ACCOUNT.name, SNAPSHOT.slug)
    assert failed.failed
    assert stages.raw.told(bench.store, failed).error == "gone"
