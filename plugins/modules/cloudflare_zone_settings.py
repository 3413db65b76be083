#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of a zone, all in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_zone_settings
version_added: 0.1.0
short_description: Settings of a zone at Cloudflare
description:
  - Reads each setting that is named and changes those that differ. Settings that are not named are left alone.
  - A setting that the plan of the zone does not allow to change is told in RV(unavailable) and as a warning, and is
    no failure, so that one list serves zones of any plan.
  - A name or a value that no zone can have is refused before anything is asked.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.zone
options:
  settings:
    description:
      - Settings by the names of the API. What YAML makes of V(on), V(off) and V(1.2) is understood.
      - Of a setting that is a mapping (V(security_header)), keys that are not named stay as they are.
      - V(ssl) is set first, because others need it.
    type: dict
    required: true
  allow_unknown:
    description: Whether settings are sent that this module does not know, as they are.
    type: bool
    default: false
notes:
  - The token needs the permission C(Zone Settings Write).
"""

EXAMPLES = r"""
- name: TLS to the origin and from the visitor
  sapflux.hosting.cloudflare_zone_settings:
    zone: example.org
    settings:
      ssl: strict
      min_tls_version: "1.2"
      always_use_https: true
      http3: true
      security_header:
        strict_transport_security: {enabled: true, max_age: 31536000}
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: ['change ssl: value "full" -> "strict"']
settings:
  description: The settings that were named, as they are afterwards.
  type: dict
  returned: always
unavailable:
  description: Settings that differ and that the plan of the zone does not allow to change.
  type: list
  elements: str
  returned: always
zone_id:
  description: Id of the zone.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _zone_settings
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ZONE_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, holds, outcome

ARGUMENT_SPEC: dict[str, Any] = {
    **ZONE_OPTIONS,
    "settings": {"type": "dict", "required": True},
    "allow_unknown": {"type": "bool", "default": False},
}
READ = "Zone Settings Read"
WRITE = "Zone Settings Write"
NOT_ALLOWED = frozenset({1015})
"""Says that the plan does not allow a value, where the setting itself may be changed."""


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Compare setting by setting, then change what differs and may be changed."""
    wanted = _zone_settings.parse(module.params["settings"], unknown=module.params["allow_unknown"])
    loose = [name for name in ("off", "flexible") if wanted.get("ssl") == name]
    if loose:
        module.warn(f"ssl is {loose[0]}: traffic to the origin is not encrypted, and a redirect to https there loops")
    zone = cloud.zone(module.params["zone"])
    home = f"/zones/{zone['id']}/settings"
    changes: list[Change] = []
    after: dict[str, Any] = {}
    unavailable: list[str] = []
    for name, want in wanted.items():
        key = "enabled" if name in _zone_settings.FLAGS else "value"
        state = cloud.result("GET", f"{home}/{name}", needs=READ) or {}
        have = after[name] = state.get(key)
        if holds(have, want):
            continue
        if state.get("editable") is False:
            unavailable.append(name)
            continue
        value = _zone_settings.merged(have, want)
        if not module.check_mode:
            try:
                cloud.result("PATCH", f"{home}/{name}", {key: value}, needs=WRITE)
            except CloudflareError as error:
                if not error.codes & NOT_ALLOWED:
                    raise
                unavailable.append(name)
                continue
        after[name] = value
        changes.append(Change("update", name, {key: have}, {key: value}))
    if unavailable:
        module.warn(f"the plan of {zone['name']} does not allow to change {', '.join(unavailable)}; left as it is")
    return {
        **outcome(changes, f"settings of {zone['name']}"),
        "settings": after,
        "unavailable": unavailable,
        "zone_id": zone["id"],
    }


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
