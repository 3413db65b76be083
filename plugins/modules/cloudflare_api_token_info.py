#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the token is good, for how long, and what it sees."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_api_token_info
version_added: 0.1.0
short_description: Whether an API token of Cloudflare is good
description:
  - Asks Cloudflare about the token itself, with the account where O(account_id) is given, else with the user, because
    a token is known in one of the two places only.
  - Fails where the token is not valid there, or ends sooner than O(days), so that a long run does not stop half-way.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
options:
  account_id:
    description:
      - Id of the account that owns the token. The environment variable E(CLOUDFLARE_ACCOUNT_ID) is used where it is not
        given.
    type: str
  zones:
    description: Zones that the token has to see.
    type: list
    elements: str
    default: []
  days:
    description: For how many days the token has to be good still.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: The token is good before anything starts
  sapflux.hosting.cloudflare_api_token_info:
    zones: [example.org]
    days: 14
"""

RETURN = r"""
id:
  description: Id of the token. For R2 it is the access key id.
  type: str
  returned: always
status:
  description: V(active), V(disabled) or V(expired).
  type: str
  returned: always
expires_on:
  description: When the token ends, empty where it does not.
  type: str
  returned: always
zones:
  description: The zones of O(zones), each with its id and plan.
  type: list
  elements: dict
  returned: always
  sample: [{id: 0123456789abcdef0123456789abcdef, name: example.org, plan: free}]
"""

import calendar
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ACCOUNT_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)

ARGUMENT_SPEC: dict[str, Any] = {
    "account_id": {**ACCOUNT_OPTIONS["account_id"], "required": False},
    "zones": {"type": "list", "elements": "str", "default": []},
    "days": {"type": "int", "default": 0},
}


def days_left(expires_on: str) -> float:
    """Days until a moment of the API."""
    return (calendar.timegm(time.strptime(expires_on[:19], "%Y-%m-%dT%H:%M:%S")) - time.time()) / 86400


def look(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Ask about the token and the zones."""
    params = module.params
    home = _api_token.home(params["account_id"])
    try:
        token = cloud.result("GET", f"{home}/verify")
    except CloudflareError as error:
        if error.status != 401:
            raise
        place = "the account: leave account_id out" if params["account_id"] else "the user: give account_id"
        raise CloudflareError(f"{error}; a token that is good may not be one of {place} then", error.status) from error
    expires_on = str(token.get("expires_on") or "")
    if token.get("status") != "active":
        raise CloudflareError(f"the token {token['id']} is {token.get('status')}: make another, or switch it on")
    if expires_on and days_left(expires_on) < params["days"]:
        raise CloudflareError(
            f"the token {token['id']} ends at {expires_on}, in less than {params['days']} days: renew it"
        )
    zones = [cloud.zone(name) for name in params["zones"]]
    return {
        "changed": False,
        "id": token["id"],
        "status": token["status"],
        "expires_on": expires_on,
        "zones": [
            {"id": zone["id"], "name": zone["name"], "plan": (zone.get("plan") or {}).get("legacy_id") or ""}
            for zone in zones
        ],
    }


def main() -> None:
    run(ARGUMENT_SPEC, look)


if __name__ == "__main__":
    main()
