#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The buckets of R2, and all that is set on one of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: r2_bucket_info
version_added: 0.1.0
short_description: Buckets of Cloudflare R2
description:
  - Lists the buckets of an account in one jurisdiction, or tells of one bucket all that is set on it.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.account
options:
  name:
    description: Name of a bucket. Without it all buckets are listed.
    type: str
  jurisdiction:
    description: Jurisdiction to look in; those of others are not seen from there.
    type: str
    choices: [default, eu, us, fedramp, fedramp-high]
    default: default
notes:
  - The token needs C(Workers R2 Storage Read).
"""

EXAMPLES = r"""
- name: What is set on the bucket for backups
  sapflux.hosting.r2_bucket_info:
    account_id: 0123456789abcdef0123456789abcdef
    name: backup
    jurisdiction: eu
"""

RETURN = r"""
buckets:
  description:
    - The buckets, sorted by name. With O(name) at most one, with its C(lifecycle), C(cors), C(lock), C(r2_dev) and
      C(domains) in the form of Cloudflare's API.
  type: list
  elements: dict
  returned: always
  sample: [{name: backup, location: weur, jurisdiction: eu, storage_class: Standard, created: "2026-11-01T00:00:00Z"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import ACCOUNT_OPTIONS, Cloudflare, run
from ansible_collections.sapflux.hosting.plugins.module_utils._r2 import R2
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_options import JURISDICTION

ARGUMENT_SPEC: dict[str, Any] = {**ACCOUNT_OPTIONS, "name": {"type": "str"}, "jurisdiction": JURISDICTION}
ASPECTS = ("lifecycle", "cors", "lock", "r2_dev", "domains")


def look(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Ask for the list, or for one bucket and its aspects."""
    params = module.params
    store = R2(cloud, params["account_id"], params["jurisdiction"])
    if params["name"] is None:
        return {"changed": False, "buckets": sorted(map(shown, store.names()), key=lambda bucket: bucket["name"])}
    bucket = store.read(params["name"])
    if bucket is None:
        return {"changed": False, "buckets": []}
    aspects = {kind: store.aspect(params["name"], kind) for kind in ASPECTS}
    return {"changed": False, "buckets": [{**shown(bucket), **aspects}]}


def shown(bucket: dict[str, Any]) -> dict[str, str]:
    """What a result says of any bucket."""
    made = {key: str(bucket.get(key) or "") for key in ("name", "location", "jurisdiction", "storage_class")}
    return {**made, "location": made["location"].lower(), "created": str(bucket.get("creation_date") or "")}


def main() -> None:
    run(ARGUMENT_SPEC, look)


if __name__ == "__main__":
    main()
