"""What people may ask for, and what is not a target."""

from __future__ import annotations

import pytest

from roles.walg.files.pgsafe_parts import target
from roles.walg.files.pgsafe_parts.common import REFUSED, PgsafeError

NOON = 1795435200.0  # 2026-11-23T12:00:00Z


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "now", lambda: NOON)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("latest", {}),
        ("2026-11-20T14:00:00Z", {"recovery_target_time": "2026-11-20 14:00:00.000000+00"}),
        ("2026-11-20 14:00:00.25+01:00", {"recovery_target_time": "2026-11-20 13:00:00.250000+00"}),
        (" 2026-11-23T12:00:00Z ", {"recovery_target_time": "2026-11-23 12:00:00.000000+00"}),
        ("0/3000060", {"recovery_target_lsn": "0/3000060", "recovery_target_inclusive": "off"}),
        ("lsn:1A/ff", {"recovery_target_lsn": "1A/FF", "recovery_target_inclusive": "off"}),
        ("name:before-migration.2", {"recovery_target_name": "before-migration.2"}),
    ],
)
def test_targets(text: str, settings: dict[str, str]) -> None:
    assert target.parse(text).settings() == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-11-20T14:00:00", "has no time zone, and an hour is a lot of data: write 2026-11-20T14:00:00Z for UTC"),
        ("2026-11-20", "has no time zone"),
        ("2026-11-23T12:00:01Z", "is in the future: it is 2026-11-23T12:00:00Z"),
        ("2026-11-23T13:00:01+01:00", "is in the future"),
        ("yesterday", "is no target for a restore: write one like 2026-11-20T14:00:00Z"),
        ("", "is no target"),
        ("name:", "is no target"),
        ("name:it's", "is no target"),
        ("name:" + "x" * 64, "is no target"),
        ("3000060", "has no time zone|is no target"),
        ("0/123456789", "is no target"),
        ("2026-02-30T00:00:00Z", "is no target"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(PgsafeError, match=message) as caught:
        target.parse(text)
    assert caught.value.code == REFUSED


@pytest.mark.parametrize("lsn", [0, 1, 0x3000060, 0xFFFFFFFF, 0x1A000000FF])
def test_positions_are_written_as_they_are_read(lsn: int) -> None:
    assert target.parse_lsn(target.format_lsn(lsn)) == lsn


def test_what_is_no_position() -> None:
    with pytest.raises(PgsafeError, match="is no position in the log"):
        target.parse_lsn("0-3000060")
