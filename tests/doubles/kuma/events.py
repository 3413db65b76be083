"""What a page may ask of the server. A handler gets the session and its arguments, and acknowledges."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any, Protocol

from tests.doubles.kuma.core import NEW_PAGE, Kuma, Object, Refused

OPEN = frozenset({"needSetup", "setup", "login", "loginByToken"})
"""What may be asked without a login."""
READS = OPEN | {
    "getMonitorList", "getMonitor", "getTags", "getSettings", "getStatusPage", "getMonitorMaintenance",
}  # fmt: skip


class Session(Protocol):
    """One connection: whether it is logged in, and a way to send it an event."""

    user: bool

    def emit(self, event: str, *arguments: Any) -> None: ...


Handler = Callable[[Kuma, Session, list[Any]], Object | bool]
HANDLERS: dict[str, Handler] = {}


def on(name: str) -> Callable[[Handler], Handler]:
    """Register a handler."""

    def register(handler: Handler) -> Handler:
        HANDLERS[name] = handler
        return handler

    return register


def answer(kuma: Kuma, session: Session, name: str, arguments: list[Any]) -> Object | bool | None:
    """The acknowledgement of an event; None for one that nobody listens to."""
    handler = HANDLERS.get(name)
    if handler is None:
        return None
    if name not in OPEN and not session.user:
        return {"ok": False, "msg": "You are not logged in."}
    try:
        said = handler(kuma, session, arguments)
    except Refused as refusal:
        return {"ok": False, "msg": str(refusal)}
    if name not in READS:
        kuma.save()
    return said


def tell(kuma: Kuma, session: Session) -> None:
    """What a page gets unasked once it is logged in."""
    session.emit("monitorList", {number: kuma.seen(one) for number, one in kuma.data["monitors"].items()})
    session.emit("maintenanceList", kuma.data["maintenances"])
    info = {
        "version": kuma.version,
        "latestVersion": kuma.version,
        "isContainer": kuma.is_container,
        "dbType": "sqlite",
    }
    session.emit("info", {**info, "primaryBaseURL": None, "serverTimezone": "UTC"})
    tell_notifications(kuma, session)
    session.emit("statusPageList", {one["id"]: page(one) for one in kuma.data["pages"].values()})
    for number, beats in kuma.beats.items():
        session.emit("heartbeatList", number, beats[-100:], True)


def tell_notifications(kuma: Kuma, session: Session) -> None:
    """The list with each configuration as text."""
    listed = [
        {"id": one["id"], "name": one["name"], "isDefault": one["isDefault"], "config": json.dumps(one["config"])}
        for one in kuma.data["notifications"].values()
    ]
    session.emit("notificationList", listed)


def page(stored: Object) -> Object:
    """A status page without its groups, which only the public page shows."""
    return {key: value for key, value in stored.items() if key != "groups"}


@on("needSetup")
def need_setup(kuma: Kuma, _session: Session, _arguments: list[Any]) -> bool:
    return not kuma.user


@on("setup")
def setup(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    name, password = arguments
    classes = sum(bool(re.search(part, password)) for part in ("[a-z]", "[A-Z]", "[0-9]", "[^A-Za-z0-9]"))
    if len(password) < 6 or classes < 2:
        return {"ok": False, "msg": "passwordTooWeak", "msgi18n": True}
    if kuma.user:
        raise Refused("Uptime Kuma has been initialized. If you want to run setup again, please delete the database.")
    kuma.user = {"name": name, "password": password, "token": secrets.token_hex(16)}
    return {"ok": True, "msg": "successAdded", "msgi18n": True}


@on("login")
def login(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    if not kuma.may_login():
        return {"ok": False, "msg": "Too frequently, try again later."}
    sent = arguments[0]
    if (sent["username"], sent["password"]) != (kuma.user.get("name"), kuma.user.get("password")):
        return {"ok": False, "msg": "authIncorrectCreds", "msgi18n": True}
    if kuma.second_factor:
        return {"tokenRequired": True}
    session.user = True
    tell(kuma, session)
    return {"ok": True, "token": kuma.user["token"]}


@on("loginByToken")
def login_by_token(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    if arguments[0] != kuma.user.get("token"):
        return {"ok": False, "msg": "authInvalidToken", "msgi18n": True}
    session.user = True
    tell(kuma, session)
    return {"ok": True}


@on("getMonitorList")
def monitor_list(kuma: Kuma, session: Session, _arguments: list[Any]) -> Object:
    session.emit("monitorList", {number: kuma.seen(one) for number, one in kuma.data["monitors"].items()})
    return {"ok": True}


@on("add")
def add(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    row = kuma.row(arguments[0], edits=False)
    number = kuma.next()
    told = kuma.notified(arguments[0]["notificationIDList"])
    kuma.data["monitors"][str(number)] = {**row, "id": number, "tags": [], "notificationIDList": told}
    session.emit("updateMonitorIntoList", {str(number): kuma.seen(kuma.monitor(number))})
    return {"ok": True, "msg": "successAdded", "msgi18n": True, "monitorID": number}


@on("editMonitor")
def edit(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    old = kuma.monitor(arguments[0].get("id"))
    row = kuma.row(arguments[0], edits=True)
    told = kuma.notified(arguments[0]["notificationIDList"])
    # Pausing and resuming are calls of their own.
    old.update({**row, "id": old["id"], "active": old["active"], "notificationIDList": told})
    session.emit("updateMonitorIntoList", {str(old["id"]): kuma.seen(old)})
    return {"ok": True, "msg": "Saved.", "msgi18n": True, "monitorID": old["id"]}


@on("deleteMonitor")
def delete(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    number = kuma.monitor(arguments[0])["id"]
    with_children = len(arguments) > 1 and arguments[1] is True
    for one in [each for each in kuma.data["monitors"].values() if each["parent"] == number]:
        if with_children:
            delete(kuma, session, [one["id"], True])
        else:
            one["parent"] = None
    del kuma.data["monitors"][str(number)]
    session.emit("deleteMonitorFromList", number)
    return {"ok": True, "msg": "successDeleted", "msgi18n": True}


@on("pauseMonitor")
def pause(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    kuma.monitor(arguments[0])["active"] = False
    return {"ok": True, "msg": "successPaused", "msgi18n": True}


@on("resumeMonitor")
def resume(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    kuma.monitor(arguments[0])["active"] = True
    return {"ok": True, "msg": "successResumed", "msgi18n": True}


@on("getTags")
def tags(kuma: Kuma, _session: Session, _arguments: list[Any]) -> Object:
    return {"ok": True, "tags": list(kuma.data["tags"].values())}


@on("addTag")
def add_tag(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    tag = {"id": kuma.next(), **arguments[0]}
    kuma.data["tags"][str(tag["id"])] = tag
    return {"ok": True, "tag": tag}


@on("addMonitorTag")
def add_monitor_tag(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    tag, number, value = arguments
    if str(tag) not in kuma.data["tags"]:
        raise Refused("SQLITE_CONSTRAINT: FOREIGN KEY constraint failed")
    kuma.monitor(number)["tags"].append({"tag_id": tag, "monitor_id": number, "value": value})
    return {"ok": True, "msg": "successAdded", "msgi18n": True}


@on("deleteMonitorTag")
def delete_monitor_tag(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    tag, number, value = arguments
    monitor = kuma.monitor(number)
    monitor["tags"] = [one for one in monitor["tags"] if (one["tag_id"], one["value"]) != (tag, value)]
    return {"ok": True, "msg": "successDeleted", "msgi18n": True}


@on("addNotification")
def add_notification(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    sent, number = arguments
    if number is not None and str(number) not in kuma.data["notifications"]:
        raise Refused("notification not found")
    number = number or kuma.next()
    row = {"id": number, "name": sent["name"], "isDefault": bool(sent.get("isDefault")), "config": sent}
    kuma.data["notifications"][str(number)] = row
    if sent.get("applyExisting"):
        for one in kuma.data["monitors"].values():
            one["notificationIDList"][str(number)] = True
    tell_notifications(kuma, session)
    return {"ok": True, "msg": "Saved.", "msgi18n": True, "id": number}


@on("deleteNotification")
def delete_notification(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    kuma.data["notifications"].pop(str(arguments[0]), None)
    for one in kuma.data["monitors"].values():
        one["notificationIDList"].pop(str(arguments[0]), None)
    tell_notifications(kuma, session)
    return {"ok": True, "msg": "successDeleted", "msgi18n": True}


@on("getSettings")
def get_settings(kuma: Kuma, _session: Session, _arguments: list[Any]) -> Object:
    return {"ok": True, "data": dict(kuma.settings)}


@on("setSettings")
def set_settings(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    sent, password = arguments
    if sent.get("disableAuth") and not kuma.settings["disableAuth"] and password != kuma.user["password"]:
        raise Refused("Incorrect current password")
    kuma.settings = dict(sent)
    return {"ok": True, "msg": "Saved.", "msgi18n": True}


@on("addStatusPage")
def add_page(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    title, slug = arguments
    if not title or not slug or slug in kuma.data["pages"]:
        raise Refused(
            "Please input all fields" if not (title and slug) else "SQLITE_CONSTRAINT: UNIQUE constraint failed"
        )
    kuma.data["pages"][slug] = {**NEW_PAGE, "id": kuma.next(), "title": title, "slug": slug, "groups": []}
    return {"ok": True, "slug": slug, "msg": "successAdded", "msgi18n": True}


def find_page(kuma: Kuma, slug: str) -> Object:
    """A status page by slug."""
    if slug not in kuma.data["pages"]:
        raise Refused("No slug?")
    return kuma.data["pages"][slug]


@on("getStatusPage")
def get_page(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    return {"ok": True, "config": page(find_page(kuma, arguments[0]))}


@on("saveStatusPage")
def save_page(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    slug, config, icon, groups = arguments
    stored = find_page(kuma, slug)
    if not isinstance(config.get("domainNameList"), list):
        raise Refused("config.domainNameList is not iterable")
    fields = dict.fromkeys(NEW_PAGE) | {key: config.get(key) for key in (*NEW_PAGE, "title", "slug")}
    listed = [
        {
            "id": kuma.next(),
            "name": group["name"],
            "monitorList": [{"id": kuma.monitor(one["id"])["id"]} for one in group["monitorList"]],
        }
        for group in groups
    ]
    stored.update({**fields, "icon": icon, "groups": listed})
    return {"ok": True, "publicGroupList": listed}


@on("deleteStatusPage")
def delete_page(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    find_page(kuma, arguments[0])
    del kuma.data["pages"][arguments[0]]
    return {"ok": True}


def find_window(kuma: Kuma, number: Any) -> Object:
    """A maintenance window by number."""
    if str(number) not in kuma.data["maintenances"]:
        raise Refused("Cannot read properties of null (reading 'user_id')")
    return kuma.data["maintenances"][str(number)]


@on("addMaintenance")
def add_window(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    sent = arguments[0]
    if not isinstance(sent.get("dateRange"), list) or not isinstance(sent.get("timeRange"), list):
        raise Refused("Cannot read properties of undefined (reading '0')")
    number = kuma.next()
    kuma.data["maintenances"][str(number)] = {**sent, "id": number, "monitors": []}
    session.emit("maintenanceList", kuma.data["maintenances"])
    return {"ok": True, "msg": "successAdded", "msgi18n": True, "maintenanceID": number}


@on("editMaintenance")
def edit_window(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    stored = find_window(kuma, arguments[0]["id"])
    stored.update({**arguments[0], "active": stored["active"], "monitors": stored["monitors"]})
    session.emit("maintenanceList", kuma.data["maintenances"])
    return {"ok": True, "msg": "Saved.", "msgi18n": True, "maintenanceID": stored["id"]}


@on("deleteMaintenance")
def delete_window(kuma: Kuma, session: Session, arguments: list[Any]) -> Object:
    del kuma.data["maintenances"][str(find_window(kuma, arguments[0])["id"])]
    session.emit("maintenanceList", kuma.data["maintenances"])
    return {"ok": True, "msg": "successDeleted", "msgi18n": True}


@on("getMonitorMaintenance")
def window_monitors(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    return {"ok": True, "monitors": [{"id": number} for number in find_window(kuma, arguments[0])["monitors"]]}


@on("addMonitorMaintenance")
def set_window_monitors(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    number, monitors = arguments
    find_window(kuma, number)["monitors"] = [kuma.monitor(one["id"])["id"] for one in monitors]
    return {"ok": True, "msg": "successAdded", "msgi18n": True}


@on("pauseMaintenance")
def close_window(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    find_window(kuma, arguments[0])["active"] = False
    return {"ok": True, "msg": "successPaused", "msgi18n": True}


@on("resumeMaintenance")
def open_window(kuma: Kuma, _session: Session, arguments: list[Any]) -> Object:
    find_window(kuma, arguments[0])["active"] = True
    return {"ok": True, "msg": "successResumed", "msgi18n": True}
