"""What the server knows, and the rules of its database."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

VERSION = "2.5.3"
LOGINS_PER_MINUTE = 20
Object = dict[str, Any]

COLUMNS: Object = {
    "name": None, "type": None, "url": None, "method": "GET", "hostname": None, "port": None, "interval": 20,
    "retryInterval": 0, "resendInterval": 0, "maxretries": 0, "timeout": 0, "keyword": None, "invertKeyword": False,
    "expiryNotification": True, "domainExpiryNotification": True, "ignoreTls": False, "upsideDown": False,
    "packetSize": 56, "maxredirects": 10, "accepted_statuscodes": ["200-299"], "dns_resolve_type": "A",
    "dns_resolve_server": None, "pushToken": None, "headers": None, "body": None, "authMethod": None, "ipFamily": None,
    "basic_auth_user": None, "basic_auth_pass": None, "httpBodyEncoding": None, "description": None, "parent": None,
    "cacheBust": False, "saveErrorResponse": False, "jsonPath": None, "jsonPathOperator": None, "expectedValue": None,
    "databaseConnectionString": None, "databaseQuery": None, "conditions": None, "active": True, "weight": 2000,
}  # fmt: skip
"""Columns of a monitor, and what the database puts where nothing is sent."""
SHOWN = frozenset(
    {"id", "tags", "notificationIDList", "path", "pathName", "childrenIDs", "maintenance", "forceInactive"}
)
"""Fields that the server's own lists have beside the columns, and that an edit may send back."""
NEW_PAGE: Object = {
    "description": None, "icon": "/icon.svg", "theme": "auto", "published": True, "showTags": False, "customCSS": None,
    "footerText": None, "showPoweredBy": True, "showCertificateExpiry": False, "autoRefreshInterval": 300,
    "domainNameList": [], "analyticsType": None, "analyticsId": None, "analyticsScriptUrl": None,
}  # fmt: skip
SETTINGS: Object = {"checkUpdate": True, "searchEngineIndex": False, "entryPage": "dashboard", "dnsCache": False,
    "keepDataPeriodDays": 365, "tlsExpiryNotifyDays": [7, 14, 21], "trustProxy": False, "primaryBaseURL": None,
    "serverTimezone": "UTC", "disableAuth": False, "nscd": True}  # fmt: skip


class Refused(Exception):  # noqa: N818 - it is an answer, not an error of the double
    """What the server answers as ``{ok: false, msg}``."""


class Kuma:
    """One server. ``path`` keeps its data; without the database's type (sqlite) it would show its wizard."""

    def __init__(self, path: Path | None = None, database: str = "sqlite") -> None:
        self.path = path
        self.database = database
        self.version = VERSION
        self.is_container = True
        self.second_factor = False
        self.info_delay = 0.05
        """Seconds until the server listens to a new connection."""
        self.lock = threading.RLock()
        self.logins: deque[float] = deque()
        self.log: list[tuple[str, Any]] = []
        self.beats: dict[int, list[Object]] = {}
        self.pushed: dict[str, Object] = {}
        self.told: list[Object] = []
        """Notifications that were sent, oldest first."""
        self.user: Object = {}
        self.data: dict[str, dict[str, Object]] = {
            part: {} for part in ("monitors", "tags", "notifications", "maintenances", "pages")
        }
        self.settings = dict(SETTINGS)
        self.number = 0
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            self.user, self.data, self.settings, self.number = (
                kept["user"], kept["data"], kept["settings"], kept["number"],
            )  # fmt: skip

    def save(self) -> None:
        """Keep the data, whole."""
        if self.path is not None:
            kept = {"user": self.user, "data": self.data, "settings": self.settings, "number": self.number}
            staged = self.path.with_suffix(".new")
            staged.write_text(json.dumps(kept))
            staged.replace(self.path)

    def next(self) -> int:
        """A number nobody has."""
        self.number += 1
        return self.number

    def may_login(self) -> bool:
        """The limiter: everybody's attempts of a minute together, good ones too."""
        now = time.monotonic()
        while self.logins and now - self.logins[0] > 60:
            self.logins.popleft()
        if len(self.logins) >= LOGINS_PER_MINUTE:
            return False
        self.logins.append(now)
        return True

    def monitor(self, number: Any) -> Object:
        """A monitor by number."""
        found = self.data["monitors"].get(str(number))
        if found is None:
            raise Refused("Cannot read properties of null (reading 'id')")
        return found

    def row(self, sent: Object, *, edits: bool) -> Object:
        """What the database makes of a monitor that was sent: the rules that break clients."""
        for key in sent:
            if key not in COLUMNS and key not in SHOWN | {"notificationIDList"}:
                raise Refused(f"SQLITE_ERROR: table monitor has no column named {key}")
            if not edits and key in SHOWN - {"notificationIDList", "id"}:
                raise Refused(f"insert into `monitor` - SQLITE_ERROR: table monitor has no column named {key}")
        codes = sent.get("accepted_statuscodes")
        if codes is None:
            raise Refused("Cannot read properties of undefined (reading 'every')")
        if not all(isinstance(code, str) for code in codes):
            raise Refused("Accepted status codes are not all strings")
        if sent.get("conditions") is None:
            raise Refused("SQLITE_CONSTRAINT: NOT NULL constraint failed: monitor.conditions")
        if not isinstance(sent.get("notificationIDList"), dict):
            raise Refused("Cannot convert undefined or null to object")
        if not isinstance(sent.get("interval"), int) or sent["interval"] < 1:
            raise Refused("Interval cannot be less than 1 seconds")
        if sent.get("type") == "push" and len(sent.get("pushToken") or "") > 32:
            raise Refused("SQLITE_ERROR: push_token is too long")
        # An insert takes the database's defaults; an edit empties what is not sent.
        defaults = dict.fromkeys(COLUMNS) if edits else COLUMNS
        return {**defaults, **{key: value for key, value in sent.items() if key in COLUMNS}}

    def notified(self, wanted: Object) -> Object:
        """The notifications of a monitor, as the list shows them."""
        return {str(number): True for number, on in wanted.items() if on and str(number) in self.data["notifications"]}

    def seen(self, monitor: Object) -> Object:
        """A monitor as the list of the server shows it."""
        tags = [
            {**one, "name": self.data["tags"][str(one["tag_id"])]["name"], "color": "#000"}
            for one in monitor["tags"]
            if str(one["tag_id"]) in self.data["tags"]
        ]
        inside = [one["id"] for one in self.data["monitors"].values() if one["parent"] == monitor["id"]]
        return {**monitor, "tags": tags, "childrenIDs": inside, "maintenance": self.in_maintenance(monitor["id"])}

    def in_maintenance(self, number: int) -> bool:
        """Whether a window that a person opened covers a monitor."""
        return any(
            number in one["monitors"] and one["active"] and one["strategy"] == "manual"
            for one in self.data["maintenances"].values()
        )
