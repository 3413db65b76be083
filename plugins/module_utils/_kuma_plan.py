# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what Uptime Kuma has to what it shall have (private to this collection). Nothing here talks to a server.

What is ours carries the tag: monitors as a tag of Kuma's, notifications in a field of their own (``managedBy``),
maintenance windows and status pages as a last line of what they say. One of the same name without it is taken over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._kuma import Found, Kuma, KumaError
from ansible_collections.sapflux.hosting.plugins.module_utils._kuma_wish import CREATED, OWN, TYPED, Wish, normal
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, holds

COLOUR = "#4b5563"
HIDDEN = "(secret)"
OTHER = "(another secret)"
MARK = "managedBy"
ONE_SHOT = frozenset({"applyExisting"})
"""Fields of a notification that act once and are not kept."""


@dataclass
class Ids:
    """Names to the server's numbers; filled while steps are done."""

    monitors: Dict[str, int] = field(default_factory=dict)
    notifications: Dict[str, int] = field(default_factory=dict)
    tags: Dict[str, int] = field(default_factory=dict)


Do = Callable[[Kuma, Ids], None]
Step = Tuple[Change, Do]


def kept(tag: str) -> str:
    """What the text of a thing that is ours ends with."""
    return f"(kept by {tag})"


def ours(monitor: Mapping[str, Any], tag: str) -> bool:
    """Whether a monitor carries our tag."""
    return any(one.get("name") == tag for one in monitor.get("tags") or [])


def pick(named: Sequence[Wish], is_ours: Callable[[Wish], bool], what: str) -> Optional[Wish]:
    """Of things with one name the one that is meant: ours, or the only one. Raises KumaError."""
    candidates = [one for one in named if is_ours(one)] or list(named)
    if len(candidates) > 1:
        raise KumaError(f"there are {len(candidates)} of the name {what} on the server: remove all but one by hand")
    return candidates[0] if candidates else None


def plan(
    found: Found, want: Mapping[str, Any], tag: str, prune: bool, secret: Mapping[str, Sequence[str]]
) -> List[Step]:
    """The steps, in an order in which each finds what it needs.

    ``want`` has monitors, notifications, status_pages, maintenances, settings. ``secret`` names fields by kind and name
    (``monitors/api``) that no diff may show. With ``prune`` what is ours and not wanted goes. Raises KumaError.
    """
    ids = Ids(
        notifications={str(one["name"]): int(one["id"]) for one in found.notifications},
        tags={str(one["name"]): int(one["id"]) for one in found.tags},
    )
    steps = [*_tags(found, want["monitors"], tag), *_notifications(found, want["notifications"], tag, secret)]
    known = {str(one["name"]) for one in [*found.notifications, *want["notifications"]]}
    for wish in by_depth(want["monitors"]):
        lost = [name for name in wish.get("notifications") or [] if name not in known]
        if lost:
            raise KumaError(f"{wish['name']} shall tell {lost[0]}, which is no notification; there are: {_list(known)}")
        same = [one for one in found.monitors.values() if one["name"] == wish["name"]]
        have = pick(same, lambda one: ours(one, tag), f"monitor {wish['name']}")
        if have is not None:
            ids.monitors[str(wish["name"])] = int(have["id"])
        steps += _monitor(have, wish, tag, ids, found, secret.get(f"monitors/{wish['name']}", ()))
    steps += _pages(found, want["status_pages"], tag)
    steps += _maintenances(found, want["maintenances"], tag)
    steps += _settings(found, want["settings"])
    if prune:
        steps += _prune(found, want, tag, ids)
    return [(change, _bound(do, ids)) for change, do in steps]


def _bound(do: Do, ids: Ids) -> Do:
    return lambda kuma, _ids: do(kuma, ids)


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def by_depth(monitors: Sequence[Wish]) -> List[Wish]:
    """Groups before what is in them, else as given."""
    parents = {str(one["name"]): one.get("parent") for one in monitors}

    def depth(name: Optional[str]) -> int:
        return 0 if not name else 1 + depth(parents.get(name))

    return sorted(monitors, key=lambda one: (one["type"] != "group", depth(one.get("parent"))))


def _tags(found: Found, monitors: Sequence[Wish], tag: str) -> List[Step]:
    there = {one["name"] for one in found.tags}
    wanted = dict.fromkeys([tag, *(name for one in monitors for name in one.get("tags") or [])]) if monitors else {}

    def add(name: str) -> Do:
        def do(kuma: Kuma, ids: Ids) -> None:
            ids.tags[name] = int(kuma.call("addTag", {"name": name, "color": COLOUR})["tag"]["id"])

        return do

    return [
        (Change("create", f"tag {name}", None, {"color": COLOUR}), add(name)) for name in wanted if name not in there
    ]


def _delta(have: Mapping[str, Any], want: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in want.items() if not _same(have.get(key), value)}


def _same(have: Any, want: Any) -> bool:
    if isinstance(want, bool) and have in (0, 1):
        # Some of its columns come as numbers.
        return bool(have) == want
    return holds(have, want)


def _shown(before: Mapping[str, Any], delta: Mapping[str, Any], secret: Sequence[str]) -> Tuple[Wish, Wish]:
    """What a diff may show of a change."""
    return (
        {key: HIDDEN if key in secret else before.get(key) for key in delta},
        {key: OTHER if key in secret else value for key, value in delta.items()},
    )


def _notifications(found: Found, wishes: Sequence[Wish], tag: str, secret: Mapping[str, Sequence[str]]) -> List[Step]:
    steps: List[Step] = []
    for wish in wishes:
        name = str(wish["name"])
        want = {"isDefault": False, **wish, MARK: tag}
        have = pick([one for one in found.notifications if one["name"] == name], lambda one: one.get(MARK) == tag, name)
        hidden = secret.get(f"notifications/{name}", ())
        if have is None:
            shown = _shown({}, want, hidden)[1]
            steps.append((Change("create", f"notification {name}", None, shown), _save_notification(want, None)))
            continue
        delta = {key: value for key, value in _delta(have, want).items() if key not in ONE_SHOT}
        if delta:
            change = Change("update", f"notification {name}", *_shown(have, delta, hidden))
            steps.append((change, _save_notification({**have, **want, "applyExisting": False}, int(have["id"]))))
    return steps


def _save_notification(wish: Wish, number: Optional[int]) -> Do:
    def do(kuma: Kuma, ids: Ids) -> None:
        ids.notifications[str(wish["name"])] = int(kuma.call("addNotification", wish, number)["id"])

    return do


def _monitor(have: Optional[Wish], wish: Wish, tag: str, ids: Ids, found: Found, secret: Sequence[str]) -> List[Step]:
    name = f"monitor {wish['name']}"
    tags = list(dict.fromkeys([tag, *(wish.get("tags") or [])]))
    fields = {key: normal(key, value) for key, value in wish.items() if key not in OWN and value is not None}
    fields.update(name=wish["name"], type=wish["type"])
    names = {number: str(one["name"]) for number, one in found.monitors.items()}
    told = {number: name for name, number in ids.notifications.items()}
    if have is None:
        want = {**CREATED, **TYPED.get(wish["type"], {}), **fields}
        extra = {"parent": wish.get("parent"), "notifications": wish.get("notifications") or [], "tags": tags}
        shown = _shown({}, {**want, **extra}, secret)[1]
        return [(Change("create", name, None, shown), _add(want, wish, tags))]
    before = {**have, "parent": names.get(have.get("parent") or 0)}
    before["notifications"] = sorted(
        told.get(int(one), one) for one, on in (have["notificationIDList"] or {}).items() if on
    )
    before["tags"] = sorted(one["name"] for one in have.get("tags") or [])
    want = dict(fields)
    if wish.get("parent") is not None:
        want["parent"] = wish["parent"] or None
    if wish.get("notifications") is not None:
        want["notifications"] = sorted(wish["notifications"])
    if wish.get("active") is not None:
        want["active"] = wish["active"]
    lacking = [one for one in tags if one not in before["tags"]]
    spare = [one for one in have.get("tags") or [] if one["name"] not in tags] if wish.get("tags") is not None else []
    if lacking or spare:
        want["tags"] = sorted({*before["tags"], *tags} - {one["name"] for one in spare})
    delta = _delta(before, want)
    if not delta:
        return []
    return [(Change("update", name, *_shown(before, delta, secret)), _edit(have, wish, fields, delta, lacking, spare))]


def _add(want: Wish, wish: Wish, tags: Sequence[str]) -> Do:
    def do(kuma: Kuma, ids: Ids) -> None:
        monitor = {
            **want,
            "active": wish.get("active") is not False,
            "parent": ids.monitors[wish["parent"]] if wish.get("parent") else None,
            "notificationIDList": {str(ids.notifications[one]): True for one in wish.get("notifications") or []},
        }
        number = int(kuma.call("add", monitor)["monitorID"])
        ids.monitors[str(wish["name"])] = number
        for one in tags:
            kuma.call("addMonitorTag", ids.tags[one], number, "")

    return do


def _edit(have: Wish, wish: Wish, fields: Wish, delta: Wish, lacking: Sequence[str], spare: Sequence[Wish]) -> Do:
    def do(kuma: Kuma, ids: Ids) -> None:
        number = int(have["id"])
        if set(delta) - {"tags", "active"}:
            # The whole object: a field that is not sent is emptied.
            monitor = {**have, **fields}
            if "parent" in delta:
                monitor["parent"] = ids.monitors[delta["parent"]] if delta["parent"] else None
            if "notifications" in delta:
                monitor["notificationIDList"] = {str(ids.notifications[one]): True for one in wish["notifications"]}
            kuma.call("editMonitor", monitor)
        for one in lacking:
            kuma.call("addMonitorTag", ids.tags[one], number, "")
        for old in spare:
            kuma.call("deleteMonitorTag", old["tag_id"], number, old.get("value", ""))
        if "active" in delta:
            kuma.call("resumeMonitor" if delta["active"] else "pauseMonitor", number)

    return do


def _pages(found: Found, wishes: Sequence[Wish], tag: str) -> List[Step]:
    steps: List[Step] = []
    for wish in wishes:
        slug = str(wish["slug"])
        have = found.pages.get(slug)
        want = {key: value for key, value in wish.items() if key != "groups" and value is not None}
        want["customCSS"] = f"{wish.get('customCSS') or ''}\n/* {kept(tag)} */".strip()
        names = {number: str(one["name"]) for number, one in found.monitors.items()}
        before: Wish = dict(have or {})
        before["groups"] = [
            {"name": one["name"], "monitors": [names.get(number) for number in one["monitors"]]}
            for one in before.get("groups", [])
        ]
        if wish.get("groups") is not None:
            want["groups"] = [{"name": one["name"], "monitors": list(one["monitors"])} for one in wish["groups"]]
        delta = _delta(before, want) if have else want
        if delta:
            change = Change("update", f"status page {slug}", *_shown(before, delta, ()))
            shown = change if have else Change("create", f"status page {slug}", None, want)
            steps.append((shown, _save_page(slug, want, (have or {}).get("groups", []), have is None)))
    return steps


def _save_page(slug: str, want: Wish, groups: Sequence[Wish], new: bool) -> Do:
    def do(kuma: Kuma, ids: Ids) -> None:
        if new:
            kuma.call("addStatusPage", want["title"], slug)
        config = kuma.call("getStatusPage", slug)["config"]
        # What a person put on it is known by number, what is wished for by name.
        listed = [
            {"name": one["name"], "monitorList": [{"id": ids.monitors.get(name, name)} for name in one["monitors"]]}
            for one in want.get("groups", groups)
        ]
        fields = {key: value for key, value in want.items() if key != "groups"}
        kuma.call("saveStatusPage", slug, {**config, **fields}, config.get("icon") or "/icon.svg", listed)

    return do


def _maintenances(found: Found, wishes: Sequence[Wish], tag: str) -> List[Step]:
    steps: List[Step] = []
    for wish in wishes:
        title = str(wish["title"])
        want = {key: value for key, value in wish.items() if value is not None}
        want["description"] = f"{wish.get('description') or ''}\n{kept(tag)}".strip()
        same = [one for one in found.maintenances if one["title"] == title]
        have = pick(same, lambda one: str(one.get("description", "")).endswith(kept(tag)), f"maintenance {title}")
        names = {number: str(one["name"]) for number, one in found.monitors.items()}
        before: Wish = dict(have or {})
        before["monitors"] = [str(names.get(number, number)) for number in before.get("monitors", [])]
        if "monitors" in want:
            want["monitors"], before["monitors"] = sorted(want["monitors"]), sorted(before["monitors"])
        delta = _delta(before, want) if have else want
        if delta:
            update = Change("update", f"maintenance {title}", *_shown(before, delta, ()))
            change = update if have else Change("create", f"maintenance {title}", None, want)
            steps.append((change, _save_maintenance(have, want, delta)))
    return steps


WINDOW: Wish = {
    "active": True, "intervalDay": 1, "cron": "30 3 * * *", "durationMinutes": 60, "dateRange": [None],
    "timeRange": [{"hours": 2, "minutes": 0}, {"hours": 3, "minutes": 0}], "weekdays": [], "daysOfMonth": [],
    "timezoneOption": "UTC",
}  # fmt: skip
"""What a new maintenance window has where the wish is silent, as Kuma's own page sends it."""


def _save_maintenance(have: Optional[Wish], want: Wish, delta: Wish) -> Do:
    def do(kuma: Kuma, ids: Ids) -> None:
        body = {key: value for key, value in {**(have or WINDOW), **want}.items() if key != "monitors"}
        if have is None:
            number = int(kuma.call("addMaintenance", body)["maintenanceID"])
        else:
            number = int(have["id"])
            if set(delta) - {"monitors", "active"}:
                kuma.call("editMaintenance", body)
        if "monitors" in delta:
            kuma.call("addMonitorMaintenance", number, [{"id": ids.monitors[name]} for name in want["monitors"]])
        if have is not None and "active" in delta:
            kuma.call("resumeMaintenance" if want["active"] else "pauseMaintenance", number)

    return do


def _settings(found: Found, wish: Wish) -> List[Step]:
    delta = _delta(found.settings, {key: value for key, value in wish.items() if value is not None})

    def do(kuma: Kuma, _ids: Ids) -> None:
        kuma.call("setSettings", {**found.settings, **delta}, "")

    return [(Change("update", "settings", *_shown(found.settings, delta, ())), do)] if delta else []


def _prune(found: Found, want: Mapping[str, Any], tag: str, ids: Ids) -> List[Step]:
    """What is ours and nobody wants: pages and windows first, children before their groups, what others use last."""

    def call(event: str, *arguments: Any) -> Do:
        return lambda kuma, _ids: (kuma.call(event, *arguments), None)[1]

    steps: List[Step] = []
    slugs = {one["slug"] for one in want["status_pages"]}
    for slug, page in found.pages.items():
        if slug not in slugs and kept(tag) in str(page.get("customCSS") or ""):
            steps.append(
                (Change("delete", f"status page {slug}", {"title": page["title"]}), call("deleteStatusPage", slug))
            )
    titles = {one["title"] for one in want["maintenances"]}
    steps += [
        (Change("delete", f"maintenance {one['title']}", {}), call("deleteMaintenance", one["id"]))
        for one in found.maintenances
        if one["title"] not in titles and str(one.get("description", "")).endswith(kept(tag))
    ]
    spare = [one for one in found.monitors.values() if ours(one, tag) and one["id"] not in ids.monitors.values()]
    for one in sorted(spare, key=lambda each: each["type"] == "group"):
        shown = {"type": one["type"], "url": one.get("url")}
        # What is in a group that goes stays, beside it: a person may have put it there.
        steps.append((Change("delete", f"monitor {one['name']}", shown), call("deleteMonitor", one["id"], False)))
    names = {one["name"] for one in want["notifications"]}
    for one in found.notifications:
        if one.get(MARK) == tag and one["name"] not in names:
            shown = {"type": one.get("type")}
            steps.append(
                (Change("delete", f"notification {one['name']}", shown), call("deleteNotification", one["id"]))
            )
    return steps
