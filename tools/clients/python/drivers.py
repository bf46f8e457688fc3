"""What the checks of the other Python drivers share."""

import datetime
import decimal
import uuid


def expect(actual, wanted, what):
    assert actual == wanted, f"{what}: {actual!r} instead of {wanted!r}"


#: A type and a value that comes back as it was sent.
VALUES = [
    ("smallint", -3),
    ("integer", 70_000),
    ("bigint", 1 << 40),
    ("double precision", 0.1),
    ("numeric", decimal.Decimal("12345678901234567890.25")),
    ("boolean", True),
    ("text", "grün '\t\n"),
    ("bytea", b"\x00\xff"),
    ("date", datetime.date(2024, 2, 29)),
    ("time", datetime.time(12, 34, 56, 500_000)),
    ("timestamp", datetime.datetime(2024, 2, 29, 12, 34, 56, 789_000)),
    ("timestamptz", datetime.datetime(2024, 2, 29, 12, 34, 56, tzinfo=datetime.timezone.utc)),
    ("uuid", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ("integer[]", [1, None, 3]),
    ("text[]", ["a", "b c", None, 'd"e']),
]
