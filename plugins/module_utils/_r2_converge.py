# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a bucket to what is wanted, whatever serves it (private to this collection).

``store`` is a :class:`_r2.R2` or a :class:`_r2_s3.S3`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_wish
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome


def present(module: AnsibleModule, store: Any, have: Optional[Dict[str, Any]], wish: Dict[str, Any]) -> Dict[str, Any]:
    """Make the bucket, then set what differs."""
    params, name = module.params, module.params["name"]
    changes = []
    domains: List[Dict[str, Any]] = []
    aspects: Dict[str, Any] = dict(store.fresh)
    if have is None:
        at = {key: params[key] for key in ("location", "jurisdiction", "storage_class") if params[key]}
        changes.append(Change("create", f"bucket {name}", after=at))
        # A new bucket gets its class when it is made.
        aspects["storage_class"] = params["storage_class"]
        made = module.check_mode or store.create(name, params["location"], params["storage_class"])
        if not module.check_mode:
            have = store.read(name)
        if not made:
            have = have or {}
            aspects = current(store, name, have, wish)
    else:
        aspects = current(store, name, have, wish)
    for kind, want in wish.items():
        if kind == "domains":
            domains = aspects[kind]
        if not _r2_wish.same(kind, aspects[kind], want):
            changes.append(change(name, kind, aspects[kind], want))
            if not module.check_mode:
                store.apply(name, kind, aspects[kind], want)
    location = str((have or {}).get("location") or "")
    if params["location"] and location and location != params["location"]:
        module.warn(f"the bucket {name} is in {location}, not in {params['location']}: a bucket cannot be moved")
    return {
        **outcome(changes, f"bucket {name}"),
        "name": name,
        "location": location,
        "domains": waited(module, store, domains, wish.get("domains") or []),
    }


def current(store: Any, name: str, have: Dict[str, Any], wish: Dict[str, Any]) -> Dict[str, Any]:
    """The aspects that are wished for as they are."""
    return {kind: have[kind] if kind == "storage_class" else store.aspect(name, kind) for kind in wish}


def change(name: str, kind: str, have: Any, want: Any) -> Change:
    """One aspect that changes."""
    if kind in ("storage_class", "r2_dev"):
        return Change("update", f"bucket {name}", {kind: have}, {kind: want})
    if kind == "domains":
        # Their states change by themselves, and belong in no diff.
        have = [{key: value for key, value in each.items() if key not in ("status", "zoneName")} for each in have]
    return Change("update", f"{kind} of bucket {name}", have, want)


def waited(module: AnsibleModule, store: Any, have: List[Any], want: List[Any]) -> List[Dict[str, Any]]:
    """The custom domains with their states; waits for those that have to be served."""
    states = {each["domain"]: each["status"] for each in have}
    names = [each["domain"] for each in want if each["enabled"]]
    late = [name for name in names if set(states.get(name, {"": ""}).values()) != {"active"}]
    if late and module.params["wait"] and not module.check_mode:
        found = store.wait_for(module.params["name"], late, module.params["wait_seconds"])
        states.update({each["domain"]: each["status"] for each in found})
    none = {"ownership": "", "ssl": ""}
    return [{"domain": each["domain"], **(states.get(each["domain"]) or none)} for each in want]


def absent(module: AnsibleModule, store: Any, have: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    """Remove the bucket, and what is in it where that was said."""
    name = module.params["name"]
    changes = []
    if have is not None:
        if store.holds_objects(name):
            if not module.params["force"]:
                raise CloudflareError(f"the bucket {name} is not empty: say force to remove all that is in it")
            changes.append(Change("delete", f"all objects of bucket {name}", "some"))
        changes.append(Change("delete", f"bucket {name}", have))
        if not module.check_mode:
            if module.params["force"]:
                store.empty(name)
            store.remove(name)
    return {**outcome(changes, f"bucket {name}"), "name": name, "location": "", "domains": []}
