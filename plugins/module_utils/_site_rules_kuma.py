# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the document ``site`` about Uptime Kuma (private to this collection)."""

from __future__ import annotations

from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._kuma import KumaError
from ansible_collections.sapflux.hosting.plugins.module_utils._kuma_wish import (
    refuse_loopback,
    refuse_monitors,
    refuse_others,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._site_kuma import wishes
from ansible_collections.sapflux.hosting.plugins.module_utils._site_rules import Add

HOME = "site.monitoring.kuma"


def kuma(site: dict[str, Any], add: Add) -> None:
    """What the server would refuse, or take and never tell."""
    section = (site.get("monitoring") or {}).get("kuma") or {}
    if not section.get("enabled"):
        return
    try:
        _kuma(site, section, add)
    except (KeyError, TypeError, AttributeError):
        # A part that it needs has the wrong shape, which is told already.
        return


def _kuma(site: dict[str, Any], section: dict[str, Any], add: Add) -> None:
    for key, example in (("password", "${KUMA_PASSWORD}"), ("image", "louislam/uptime-kuma@sha256:<digest>")):
        if not section[key]:
            add(f"{HOME}.{key}", None, "is needed to have Uptime Kuma run", f"write {example}")
    if section["image"] and "@sha256:" not in section["image"]:
        add(f"{HOME}.image", section["image"], "is not pinned by digest, and a tag can change under you",
            "write the image's name with @sha256:<digest>")  # fmt: skip
    if section["hostname"] and section["hostname"] in [service["hostname"] for service in site["services"]]:
        add(f"{HOME}.hostname", section["hostname"], "is the name of a service", "give the dashboard one of its own")
    want = wishes(site)
    names = [str(one.get("name")) for one in want["monitors"]]
    try:
        refuse_monitors(
            [{**one, "pushToken": "x" * 32} if one.get("type") == "push" else one for one in want["monitors"]]
        )
        refuse_loopback(want["monitors"])
        refuse_others(want["notifications"], want["status_pages"], [], want["settings"], names)
    except KumaError as error:
        add(HOME, None, f"cannot be: {error}", "correct it")
