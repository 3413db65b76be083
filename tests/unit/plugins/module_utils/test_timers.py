"""What systemd's timers say about themselves, in the words of systemd 257."""

from __future__ import annotations

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _timers

SAID = """\
Unit=sapflux-backup.service
NextElapseUSecRealtime=Thu 2026-11-26 03:17:00 UTC
TimersCalendar={ OnCalendar=*-*-* 03:17:00 ; next_elapse=Thu 2026-11-26 03:17:00 UTC }
TimersCalendar={ OnCalendar=Sun *-*-* 15:17:00 ; next_elapse=Sun 2026-11-29 15:17:00 UTC }
AccuracyUSec=1min
RandomizedDelayUSec=1h 30min
Id=sapflux-backup.timer
ActiveState=active

Unit=sapflux-drill.service
NextElapseUSecRealtime=
TimersCalendar={ OnCalendar=Mon 1970-01-05 00:00:00 ; next_elapse=(null) }
AccuracyUSec=1min
Id=sapflux-drill.timer
ActiveState=active

Unit=sapflux-look.service
NextElapseUSecRealtime=
TimersMonotonic={ OnUnitActiveUSec=30s ; next_elapse=1h 2min }
TimersMonotonic={ OnBootUSec=30s ; next_elapse=30s }
AccuracyUSec=1s
RandomizedDelayUSec=0
Id=sapflux-look.timer
ActiveState=active

Unit=sapflux-off.service
TimersCalendar={ OnCalendar=*-*-* 03:17:00 ; next_elapse=(null) }
Id=sapflux-off.timer
ActiveState=inactive

Unit=sapflux-once.service
NextElapseUSecRealtime=
TimersMonotonic={ OnBootUSec=30s ; next_elapse=30s }
Id=sapflux-once.timer
ActiveState=active
"""
LIMITS = """\
Id=sapflux-backup.service
TimeoutStartUSec=6h

Id=sapflux-look.service
TimeoutStartUSec=infinity
"""


def test_timers_that_run_with_their_schedule() -> None:
    found = _timers.parse(SAID, _timers.parse_limits(LIMITS))
    assert found == {
        "sapflux-backup": {
            "schedule": "*-*-* 03:17:00\nSun *-*-* 15:17:00",
            "every": None,
            "delay": 60 + 5400,
            "limit": 21600,
        },
        "sapflux-look": {"schedule": "", "every": 30, "delay": 1, "limit": None},
    }


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("0", 0), ("", 0), ("250ms", 0.25), ("1min 30s", 90), ("1d 2h", 93600), ("infinity", None), ("soon", None)],
)
def test_spans(span: str, seconds: float | None) -> None:
    assert _timers.seconds(span) == seconds
