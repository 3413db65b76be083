#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Monitors of Uptime Kuma 2 as code, and all that belongs to them: one login, what differs, what is ours."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uptime_kuma
version_added: 0.1.0
short_description: Monitors, notifications, status pages, maintenance and settings of Uptime Kuma 2
description:
  - Makes the first user, then keeps what is listed, in one login. Nothing is needed but Python.
  - Fields have Kuma's own names. What a wish leaves open stays as it is.
  - Things are known by their names. One that people made by hand is left alone, unless a wish has its name; then it is
    taken over.
  - A monitor that asks a loopback address is refused where the server runs in a container, as
    it would see itself alone.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  url:
    description: URL of the server.
    type: str
    default: http://127.0.0.1:3001
  username:
    description: Its user; made where there is none yet.
    type: str
    default: admin
  password:
    description: The password of that user.
    type: str
    required: true
  tag:
    description: Tag that all of O(monitors) carry, and by which O(prune) knows what is ours.
    type: str
    default: sapflux.hosting
  prune:
    description: Whether what is ours and not listed is removed, with its history.
    type: bool
    default: false
  monitors:
    description:
      - Monitors, each with C(name), C(type), fields of that type, and C(active), C(parent) (the name of a group),
        C(notifications) (names), C(tags) (names beside O(tag)).
      - Types are http, keyword, json-query, port, ping, dns, push, group, postgres.
    type: list
    elements: dict
    default: []
  notifications:
    description: Notifications, each with C(name), C(type), and what that type needs.
    type: list
    elements: dict
    default: []
  status_pages:
    description: Status pages, each with C(slug), C(title), C(groups) (of C(name) and C(monitors), names).
    type: list
    elements: dict
    default: []
  maintenances:
    description: Maintenance windows, each with C(title), C(strategy), C(active), C(monitors) (names).
    type: list
    elements: dict
    default: []
  settings:
    description: Settings of the server, like C(keepDataPeriodDays).
    type: dict
    default: {}
  secrets:
    description:
      - >-
        Fields that nobody may read, as a JSON document C({"monitors": {NAME: {FIELD: VALUE}}, "notifications": {...}}).
        They are added to what is listed under that name, and neither logged nor shown.
    type: str
    default: "{}"
  beats:
    description: Seconds to wait until every listed monitor that is active was seen up since the login; 0 for none.
    type: int
    default: 0
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
notes:
  - The server lets everybody together log in 20 times a minute. The module waits for its turn.
"""

EXAMPLES = r"""
- name: The site is watched
  sapflux.hosting.uptime_kuma:
    password: "{{ lookup('sapflux.hosting.doppler', 'KUMA_PASSWORD') }}"
    prune: true
    monitors:
      - {name: site, type: http, url: https://example.org/, notifications: [operator]}
    notifications:
      - {name: operator, type: webhook, webhookContentType: json}
    secrets: "{{ {'notifications': {'operator': {'webhookURL': hook}}} | to_json }}"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create monitor site]
monitors:
  description: Numbers of the listed monitors by name; one that check mode would make is not among them.
  type: dict
  returned: always
beats:
  description: The newest beat of each listed monitor that was waited for, by name.
  type: dict
  returned: always
  contains:
    status: {description: "0 down, 1 up, 2 pending, 3 maintenance.", type: int, returned: always}
    msg: {description: What the server says about it., type: str, returned: always}
version:
  description: The server's version; empty where check mode would make its first user.
  type: str
  returned: always
requests:
  description: How many requests were sent.
  type: int
  returned: always
"""

import json
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._kuma import Found, Kuma, KumaAwayError, KumaError
from ansible_collections.sapflux.hosting.plugins.module_utils._kuma_plan import Ids, Step, plan
from ansible_collections.sapflux.hosting.plugins.module_utils._kuma_wish import (
    refuse_loopback,
    refuse_monitors,
    refuse_others,
    with_secrets,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

ARGUMENT_SPEC: Dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:3001"},
    "username": {"type": "str", "default": "admin"},
    "password": {"type": "str", "required": True, "no_log": True},
    "tag": {"type": "str", "default": "sapflux.hosting"},
    "prune": {"type": "bool", "default": False},
    "monitors": {"type": "list", "elements": "dict", "default": []},
    "notifications": {"type": "list", "elements": "dict", "default": []},
    "status_pages": {"type": "list", "elements": "dict", "default": []},
    "maintenances": {"type": "list", "elements": "dict", "default": []},
    "settings": {"type": "dict", "default": {}},
    "secrets": {"type": "str", "default": "{}", "no_log": True},
    "beats": {"type": "int", "default": 0},
}
UP = 1
MAINTENANCE = 3


def wanted(params: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, List[str]], List[str]]:
    """(the wishes whole, the names of secret fields by kind and name, the secret values). Raises KumaError."""
    try:
        secrets = json.loads(params["secrets"])
        by_name = [(kind, name, given) for kind, part in secrets.items() for name, given in part.items()]
        fields = {f"{kind}/{name}": sorted(given) for kind, name, given in by_name}
    except (ValueError, AttributeError, TypeError) as error:
        raise KumaError("secrets is no JSON document of monitors and notifications by name") from error
    unknown = sorted(set(secrets) - {"monitors", "notifications"})
    if unknown:
        raise KumaError(f"secrets has {unknown[0]}; there are only monitors and notifications")
    wishes = {
        "monitors": with_secrets(params["monitors"], "monitors", secrets),
        "notifications": with_secrets(params["notifications"], "notifications", secrets),
        **{key: params[key] for key in ("status_pages", "maintenances", "settings")},
    }
    refuse_monitors(wishes["monitors"])
    names = [str(one["name"]) for one in wishes["monitors"]]
    refuse_others(wishes["notifications"], wishes["status_pages"], wishes["maintenances"], wishes["settings"], names)
    values = [str(value) for _kind, _name, given in by_name for value in given.values()]
    return wishes, fields, [params["password"], *values]


def converge(module: AnsibleModule) -> Dict[str, Any]:
    """Bring the server to what is wanted."""
    params = module.params
    wishes, fields, secrets = wanted(params)
    kuma = Kuma(params["url"], secrets)
    first: List[Change] = []
    steps: List[Step] = []
    try:
        found = Found()
        if nobody_known(kuma, module.check_mode):
            first = [Change("create", f"user {params['username']}")]
            if not module.check_mode:
                kuma.setup(params["username"], params["password"])
        if not (first and module.check_mode):
            kuma.login(params["username"], params["password"])
            if kuma.info.get("isContainer"):
                refuse_loopback(wishes["monitors"])
            found = kuma.found([str(one["slug"]) for one in wishes["status_pages"]])
        steps = plan(found, wishes, params["tag"], params["prune"], fields)
        for _change, do in [] if module.check_mode else steps:
            do(kuma, Ids())
        there = ids_of(kuma, found, wishes["monitors"], bool(steps) and not module.check_mode)
        beats = look(kuma, wishes["monitors"], there, params["beats"]) if params["beats"] else {}
    finally:
        kuma.close()
    return {
        **outcome([*first, *(change for change, _do in steps)], "uptime kuma"),
        "monitors": there,
        "beats": beats,
        "version": str(kuma.info.get("version", "")),
        "requests": kuma.wire.requests,
    }


def nobody_known(kuma: Kuma, check_mode: bool) -> bool:
    """Whether the server has no user yet; where check mode finds no server, one is about to be installed."""
    try:
        return kuma.connect()
    except KumaAwayError:
        if not check_mode:
            raise
        return True


def ids_of(kuma: Kuma, found: Found, monitors: List[Dict[str, Any]], changed: bool) -> Dict[str, int]:
    """Numbers of the listed monitors; the server tells those that are new."""
    if changed:
        # The list comes as an event, before the answer.
        kuma.call("getMonitorList")
        known = {one["name"]: int(number) for number, one in kuma.lists["monitorList"].items()}
    else:
        known = {one["name"]: number for number, one in found.monitors.items()}
    return {str(one["name"]): known[one["name"]] for one in monitors if one["name"] in known}


def look(kuma: Kuma, monitors: List[Dict[str, Any]], ids: Dict[str, int], seconds: int) -> Dict[str, Dict[str, Any]]:
    """The beats of what is active. Raises KumaError, naming what was not seen up."""
    watched = [str(one["name"]) for one in monitors if one["type"] != "group" and one.get("active") is not False]
    numbers = {ids[name]: name for name in watched if name in ids}
    seen = kuma.wait_for_beats(list(numbers), seconds, lambda beat: beat.get("status") in (UP, MAINTENANCE))
    beats: Dict[str, Dict[str, Any]] = {
        numbers[number]: {"status": int(beat["status"]), "msg": kuma.mask(str(beat.get("msg") or ""))}
        for number, beat in seen.items()
    }
    bad = [
        f"{name} {'gave no beat' if name not in beats else 'is down: ' + (beats[name]['msg'] or 'no reason given')}"
        for name in watched
        if name not in beats or beats[name]["status"] not in (UP, MAINTENANCE)
    ]
    if bad:
        raise KumaError(f"within {seconds} s not every monitor was up: {'; '.join(bad)}")
    return beats


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = converge(module)
    except KumaError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
