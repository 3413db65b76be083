#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key pair for S3 on one bucket of R2 that ends by itself, in a file and nowhere else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: r2_temporary_credentials
version_added: 0.1.0
short_description: A key pair for S3 on one bucket of Cloudflare R2 that ends by itself
description:
  - Asks for a key pair and a session token for one bucket, or for some of its objects, that end within a week. They
    never allow more than the token they are made of.
  - They go into a file of mode 0600, as C(AWS_ACCESS_KEY_ID=...), C(AWS_SECRET_ACCESS_KEY=...) and
    C(AWS_SESSION_TOKEN=...), below a comment that says what they are for and when they end; they are in no result,
    diff or log.
  - New ones are asked for where the file has none of this kind, or its own end soon.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.account
options:
  bucket:
    description: Name of the bucket.
    type: str
    required: true
  jurisdiction:
    description: Jurisdiction of the bucket.
    type: str
    choices: [default, eu, us, fedramp, fedramp-high]
    default: default
  permission:
    description: What may be done.
    type: str
    choices: [admin-read-write, admin-read-only, object-read-write, object-read-only]
    default: object-read-only
  prefixes:
    description: Beginnings of the keys of objects that it is for. Without these and O(objects) it is for all.
    type: list
    elements: str
    default: []
  objects:
    description: Keys of objects that it is for.
    type: list
    elements: str
    default: []
  ttl:
    description: Seconds until it ends, at most 604800.
    type: int
    default: 900
  renew_before:
    description: Seconds before its end at which a new one is asked for. It has to be less than O(ttl).
    type: int
    default: 300
  parent_access_key_id:
    description: Access key of the pair that it is made of. Without this it is the one of O(api_token) itself.
    type: str
  path:
    description: File that holds it. Its folder has to be there.
    type: path
    required: true
notes:
  - The token that does this needs C(Workers R2 Storage Write).
  - What was handed out cannot be taken back, other than by revoking the token it was made of.
"""

EXAMPLES = r"""
- name: An hour to read one backup
  sapflux.hosting.r2_temporary_credentials:
    account_id: 0123456789abcdef0123456789abcdef
    bucket: backup
    prefixes: [basebackups_005/]
    ttl: 3600
    path: "{{ playbook_dir }}/secrets/restore.env"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create temporary key pair for backup]
access_key_id:
  description: The access key, empty where there is none yet. It is no secret.
  type: str
  returned: always
endpoint:
  description: Address of the S3 server for the bucket.
  type: str
  returned: always
expires_on:
  description: When it ends, empty where there is none yet.
  type: str
  returned: always
"""

import hashlib
import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ACCOUNT_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_options import JURISDICTION
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_wish import NAME

ARGUMENT_SPEC: dict[str, Any] = {
    **ACCOUNT_OPTIONS,
    "bucket": {"type": "str", "required": True},
    "jurisdiction": JURISDICTION,
    "permission": {
        "type": "str",
        "choices": ["admin-read-write", "admin-read-only", "object-read-write", "object-read-only"],
        "default": "object-read-only",
    },
    "prefixes": {"type": "list", "elements": "str", "default": []},
    "objects": {"type": "list", "elements": "str", "default": []},
    "ttl": {"type": "int", "default": 900},
    "renew_before": {"type": "int", "default": 300},
    # An id, and no secret.
    "parent_access_key_id": {"type": "str", "no_log": False},
    "path": {"type": "path", "required": True},
}
LONGEST = 604800
HELD = re.compile(
    r"# ends (?P<ends>\S+), for (?P<gist>[0-9a-f]{64})\nAWS_ACCESS_KEY_ID=(?P<id>\S+)\n"
    r"AWS_SECRET_ACCESS_KEY=\S+\nAWS_SESSION_TOKEN=\S+"
)
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def now() -> datetime:
    """This moment; a seam for tests."""
    return datetime.now(timezone.utc)


def check(params: dict[str, Any]) -> None:
    """Refuse what cannot be, before anything is asked."""
    if not NAME.fullmatch(params["bucket"]):
        raise CloudflareError(
            f"{params['bucket']} is no name of a bucket: 3 to 63 lower-case letters, digits and dashes"
        )
    if not 1 <= params["ttl"] <= LONGEST:
        raise CloudflareError(f"ttl is 1 to {LONGEST} seconds, not {params['ttl']}")
    if not 0 <= params["renew_before"] < params["ttl"]:
        raise CloudflareError("renew_before has to be less than ttl, or every run would ask for new credentials")


def parent(params: dict[str, Any]) -> str:
    """The access key of the pair that it is made of."""
    if params["parent_access_key_id"]:
        return str(params["parent_access_key_id"])
    # A token is known where it lives: with the account, or with a user.
    for account in (params["account_id"], None):
        found = _api_token.verify(params["api_token"], params["base_url"], account)
        if found is not None:
            return str(found["id"])
    raise CloudflareError("the token is not valid: give one that is, or parent_access_key_id")


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Ask for new credentials where those of the file are others, or end soon."""
    params = module.params
    check(params)
    wish = {
        "bucket": params["bucket"],
        "parentAccessKeyId": parent(params),
        "permission": params["permission"],
        "ttlSeconds": params["ttl"],
        **{key: sorted(params[key]) for key in ("objects", "prefixes") if params[key]},
    }
    whole = {**wish, "account": params["account_id"], "jurisdiction": params["jurisdiction"]}
    gist = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    held = HELD.fullmatch(_api_token.read_value(params["path"]))
    if held and held["gist"] == gist and held["ends"] > stamp(now() + timedelta(seconds=params["renew_before"])):
        return result(params, [], held["id"], held["ends"])
    changes = [Change("create", f"temporary key pair for {params['bucket']}", None, {"ttl": params["ttl"]})]
    if module.check_mode:
        return result(params, changes, "", "")
    headers = {} if params["jurisdiction"] == "default" else {"cf-r2-jurisdiction": params["jurisdiction"]}
    path, needs = f"/accounts/{params['account_id']}/r2/temp-access-credentials", "Workers R2 Storage Write"
    with _api_token.value_file(params["path"]) as keep:
        # From before the question: rather too early than too late.
        ends = stamp(now() + timedelta(seconds=params["ttl"]))
        made = cloud.ask("POST", path, wish, None, headers, needs=needs)["result"]
        keep(
            f"# ends {ends}, for {gist}\nAWS_ACCESS_KEY_ID={made['accessKeyId']}\n"
            f"AWS_SECRET_ACCESS_KEY={made['secretAccessKey']}\nAWS_SESSION_TOKEN={made['sessionToken']}"
        )
    return result(params, changes, made["accessKeyId"], ends)


def stamp(moment: datetime) -> str:
    """A moment as text that sorts like it."""
    return moment.strftime(MOMENT)


def result(params: dict[str, Any], changes: list[Change], access_key: str, ends: str) -> dict[str, Any]:
    """The same shape on every path; never a secret."""
    where = "" if params["jurisdiction"] == "default" else f"{params['jurisdiction']}."
    return {
        **outcome(changes, "temporary key pairs"),
        "access_key_id": access_key,
        "endpoint": f"https://{params['account_id']}.{where}r2.cloudflarestorage.com",
        "expires_on": ends,
    }


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
