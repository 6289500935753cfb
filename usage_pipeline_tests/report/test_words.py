"""Numbers and names as people write them."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from usage_pipeline.report import words


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Decimal("1234567.890000000"), "1,234,567.89"),
        (Decimal("-1500.000000000"), "\N{MINUS SIGN}1,500"),
        (Decimal("0E-9"), "0"),
        (Decimal("0.000000001"), "0.000000001"),
        (None, "\N{EN DASH}"),
    ],
)
def test_numbers_keep_their_digits(value: Decimal | None, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ("0.835", "84 %"),
        ("0", "0 %"),
        ("0.0012", "0.12 %"),
        # Not used up: 99.96 is not said as 100.
        ("0.9996", "99.96 %"),
        ("1.0000", "100 %"),
        ("12.5", "1,250 %"),
    ],
)
def test_percents_are_whole_unless_that_would_mislead(ratio: str, said: str) -> None:
    assert words.percent(Decimal(ratio)) == said


def test_differences_have_a_sign() -> None:
    told = [words.signed(Decimal(number)) for number in ("5", "0", "-5")]
    assert told == ["+5", "0", "\N{MINUS SIGN}5"]


def test_names_of_metrics() -> None:
    assert [words.metric(name) for name in ("total_mau", "cloud_units", "x")] == ["Total MAU", "Cloud units", "X"]


def test_the_last_day_of_a_period_is_the_day_of_its_last_instant() -> None:
    assert words.last_day(datetime(2026, 12, 1, tzinfo=UTC)) == date(2026, 11, 30)
    assert words.last_day(datetime(2026, 12, 5, 8, tzinfo=UTC)) == date(2026, 12, 5)
