# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences of a tailscale node: how each is called, read and compared.

Private to the collection, and pure: nothing here asks or changes anything.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale import Prefs, TailscaleError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", re.IGNORECASE)
_TAG = re.compile(r"tag:[a-zA-Z][a-zA-Z0-9-]*\Z")
_MODES = ("off", "nodivert", "on")
_EXITS = ("0.0.0.0/0", "::/0")


def _key(name: str) -> Callable[[Prefs], Any]:
    return lambda prefs: bool(prefs.get(name))


def _text(name: str) -> Callable[[Prefs], Any]:
    return lambda prefs: str(prefs.get(name) or "")


def _update(name: str) -> Callable[[Prefs], Any]:
    return lambda prefs: (prefs.get("AutoUpdate") or {}).get(name) is True


def _routes(prefs: Prefs) -> List[str]:
    return sorted(route for route in prefs.get("AdvertiseRoutes") or [] if route not in _EXITS)


def _exit_node(prefs: Prefs) -> bool:
    return set(_EXITS) <= set(prefs.get("AdvertiseRoutes") or [])


def _netfilter(prefs: Prefs) -> str:
    mode = prefs.get("NetfilterMode", 2)
    return _MODES[mode] if isinstance(mode, int) and 0 <= mode < len(_MODES) else str(mode)


@dataclass(frozen=True)
class Pref:
    """One preference: the option of the module, the flag of the command line, and how it reads."""

    option: str
    flag: str
    read: Callable[[Prefs], Any]
    #: `tailscale up` knows it, too, and takes it back to its default when it is not repeated
    up: bool = True


PREFS = (
    Pref("hostname", "hostname", _text("Hostname")),
    Pref("accept_dns", "accept-dns", _key("CorpDNS")),
    Pref("accept_routes", "accept-routes", _key("RouteAll")),
    Pref("advertise_exit_node", "advertise-exit-node", _exit_node),
    Pref("advertise_routes", "advertise-routes", _routes),
    Pref("netfilter_mode", "netfilter-mode", _netfilter),
    Pref("operator", "operator", _text("OperatorUser")),
    Pref("report_posture", "report-posture", _key("PostureChecking")),
    Pref("shields_up", "shields-up", _key("ShieldsUp")),
    Pref("snat_subnet_routes", "snat-subnet-routes", lambda prefs: not prefs.get("NoSNAT")),
    Pref("ssh", "ssh", _key("RunSSH")),
    Pref("stateful_filtering", "stateful-filtering", lambda prefs: prefs.get("NoStatefulFiltering") is not True),
    Pref("auto_update", "auto-update", _update("Apply"), up=False),
    Pref("update_check", "update-check", _update("Check"), up=False),
    Pref("webclient", "webclient", _key("RunWebClient"), up=False),
)


@dataclass(frozen=True)
class Change:
    """A preference that differs."""

    pref: Pref
    before: Any
    after: Any

    @property
    def flag(self) -> str:
        """The flag that makes the change."""
        return flag(self.pref, self.after)

    @property
    def summary(self) -> str:
        """A clause for people."""
        return f"set {self.pref.option} to {_shown(self.after)} (was {_shown(self.before)})"


def flag(pref: Pref, value: Any) -> str:
    """The flag of a preference with a value."""
    text = ",".join(value) if isinstance(value, list) else str(value)
    return f"--{pref.flag}={text.lower() if isinstance(value, bool) else text}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (", ".join(value) if isinstance(value, list) else str(value)) or "nothing"


def check_hostname(name: Optional[str]) -> None:
    """Refuse what cannot be a node's name. Raises TailscaleError."""
    if name and not _LABEL.match(name):
        raise TailscaleError(
            f"hostname {name!r} cannot be the name of a node; use up to 63 letters, digits and -, without a dot"
        )


def check_tags(tags: List[str]) -> None:
    """Refuse what is no tag. Raises TailscaleError."""
    for tag in tags:
        if not _TAG.match(tag):
            raise TailscaleError(f"{tag!r} is no tag; write tag: and a name, such as tag:server")


def normal_routes(routes: List[str]) -> List[str]:
    """The routes in canonical form, sorted. Raises TailscaleError for anything else than networks."""
    found = []
    for route in routes:
        try:
            network = str(ipaddress.ip_network(route))
        except ValueError as error:
            raise TailscaleError(f"advertise_routes holds {route!r}, which is no network: {error}") from None
        if network in _EXITS:
            raise TailscaleError(f"advertise_routes holds {route!r}; say advertise_exit_node: true instead")
        found.append(network)
    return sorted(set(found))


def wanted_prefs(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The preferences that the caller has an opinion on, checked and in canonical form. Raises TailscaleError."""
    wanted = {pref.option: params[pref.option] for pref in PREFS if params.get(pref.option) is not None}
    check_hostname(wanted.get("hostname"))
    if "advertise_routes" in wanted:
        wanted["advertise_routes"] = normal_routes(wanted["advertise_routes"])
    return wanted


def differences(wanted: Mapping[str, Any], prefs: Prefs) -> List[Change]:
    """The preferences that differ from what is wanted."""
    changes = [Change(pref, pref.read(prefs), wanted[pref.option]) for pref in PREFS if pref.option in wanted]
    return [change for change in changes if change.before != change.after]


def up_flags(wanted: Mapping[str, Any], prefs: Prefs) -> List[str]:
    """All flags for `tailscale up`: what is wanted, and what is there already where nobody has an opinion.

    `up` refuses to run when a preference that is set is not repeated.
    """
    return [flag(pref, wanted.get(pref.option, pref.read(prefs))) for pref in PREFS if pref.up]


def picture(prefs: Prefs, wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """The preferences that the wish speaks of, for the diff."""
    return {pref.option: pref.read(prefs) for pref in PREFS if pref.option in wanted}
