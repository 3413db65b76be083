"""Asks what monitors watch, for real, and tells when one goes down or comes back."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.doubles.kuma.core import Kuma, Object

DOWN, UP, PENDING, MAINTENANCE = 0, 1, 2, 3


def ask(kuma: Kuma, monitor: Object) -> str:
    """What is wrong, "" where nothing is."""
    kind = monitor["type"]
    try:
        if kind in ("http", "keyword", "json-query"):
            return _web(monitor)
        if kind == "port":
            return _port(monitor["hostname"], int(monitor["port"]))
        if kind == "postgres":
            parts = urlsplit(monitor["databaseConnectionString"])
            return _port(parts.hostname or "", parts.port or 5432)
        if kind in ("dns", "ping"):
            socket.getaddrinfo(monitor["hostname"], None)
            return ""
        if kind == "push":
            return _pushed(kuma, monitor)
        if kind == "group":
            return _children(kuma, monitor)
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return f"Unknown Monitor Type: {kind}"


def _web(monitor: Object) -> str:
    context = ssl.create_default_context()
    if monitor["ignoreTls"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(monitor["url"], headers={"User-Agent": "Uptime-Kuma/2.5.3"})
    try:
        with urllib.request.urlopen(request, timeout=monitor["timeout"] or 10, context=context) as reply:
            status, body = reply.status, reply.read(1 << 20).decode(errors="replace")
    except urllib.error.HTTPError as error:
        status, body = error.code, ""
    if not any(_within(status, code) for code in monitor["accepted_statuscodes"]):
        return f"Request failed with status code {status}"
    if monitor["type"] == "keyword" and (monitor["keyword"] in body) == bool(monitor["invertKeyword"]):
        return f"keyword {monitor['keyword']!r} is not in the answer"
    if monitor["type"] == "json-query":
        found = json.loads(body).get(monitor["jsonPath"].removeprefix("$."))
        return "" if str(found) == str(monitor["expectedValue"]) else f"JSON query does not pass ({found})"
    return ""


def _within(status: int, code: str) -> bool:
    low, _dash, high = code.partition("-")
    return int(low) <= status <= int(high or low)


def _port(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=5):
        return ""


def _pushed(kuma: Kuma, monitor: Object) -> str:
    heard = kuma.pushed.get(monitor["pushToken"])
    if heard is None or time.monotonic() - heard["at"] > monitor["interval"]:
        return "No heartbeat in the time window"
    return "" if heard["status"] == "up" else str(heard["msg"] or "down")


def _children(kuma: Kuma, monitor: Object) -> str:
    inside = [one["id"] for one in kuma.data["monitors"].values() if one["parent"] == monitor["id"] and one["active"]]
    bad = [number for number in inside if (kuma.beats.get(number) or [{"status": DOWN}])[-1]["status"] == DOWN]
    return f"Child {bad[0]} is down" if bad else ""


def beat(kuma: Kuma, monitor: Object) -> Object:
    """One beat: asked without the lock, judged by the retries of the monitor, kept and told with it."""
    wrong = ask(kuma, monitor)
    with kuma.lock:
        number = monitor["id"]
        beats = kuma.beats.setdefault(number, [])
        last: Object = beats[-1] if beats else {"status": None, "retries": 0}
        retries = last["retries"] + 1 if wrong else 0
        status = UP
        if wrong:
            status = PENDING if retries <= (monitor["maxretries"] or 0) else DOWN
        if kuma.in_maintenance(number):
            status = MAINTENANCE
        important = status in (UP, DOWN) and last["status"] != status and not (status == UP and last["status"] is None)
        made = {
            "monitorID": number,
            "status": status,
            "msg": wrong or "200 - OK",
            "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            "retries": retries,
            "important": important,
        }
        beats.append(made)
        del beats[:-100]
        told = [kuma.data["notifications"].get(one) for one in monitor["notificationIDList"]] if important else []
        for one in filter(None, told):
            kuma.told.append({"notification": one["name"], "monitor": monitor["name"], "status": status, "msg": wrong})
    for one in filter(None, told):
        notify(one["config"], monitor, made)
    return made


def notify(config: Object, monitor: Object, made: Object) -> None:
    """Send a webhook; one that is away is no news for the server either, beyond its log."""
    if config.get("type") != "webhook" or not config.get("webhookURL"):
        return
    said: Any = {"heartbeat": made, "monitor": {"name": monitor["name"]}, "msg": f"[{monitor['name']}] {made['msg']}"}
    request = urllib.request.Request(
        config["webhookURL"], json.dumps(said).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=5):
            pass
    except OSError as error:
        print(f"cannot send notification to {config['name']}: {error}", flush=True)
