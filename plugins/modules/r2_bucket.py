#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket of R2, or of another server that speaks S3, with all that is set on it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: r2_bucket
version_added: 0.1.0
short_description: A bucket of Cloudflare R2, or of MinIO
description:
  - Makes a bucket and keeps its storage class, lifecycle, CORS rules, locks, public address and custom domains.
  - What an option names is enforced whole; what is left out stays as it is.
  - Only an empty bucket is removed, unless O(force) says otherwise.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
options:
  name:
    description: Name of the bucket, 3 to 63 lower-case letters, digits and dashes.
    type: str
    required: true
  state:
    description: Whether the bucket is there.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Whether O(state=absent) also removes what is in the bucket, page after page. There is no way back.
      - Objects that a lock holds stay, and the bucket with them.
      - With O(backend=s3) uploads that are open are given up, too. R2's own API does not show them.
    type: bool
    default: false
  backend:
    description:
      - V(r2) uses Cloudflare's API. V(s3) uses boto3 against any server that speaks S3, for example MinIO, and knows
        O(lifecycle), O(cors) and O(force) only.
    type: str
    choices: [r2, s3]
    default: r2
  api_token:
    description:
      - API token of Cloudflare, for O(backend=r2). The environment variables E(CLOUDFLARE_API_TOKEN) and
        E(CLOUDFLARE_TOKEN) are used where it is not given.
    type: str
    required: false
  account_id:
    description:
      - Id of the account, for O(backend=r2). The environment variable E(CLOUDFLARE_ACCOUNT_ID) is used where it is not
        given.
    type: str
  jurisdiction:
    description:
      - Where the objects have to stay. It cannot be changed, and a bucket of the same name elsewhere is another one.
    type: str
    choices: [default, eu, us, fedramp, fedramp-high]
    default: default
  location:
    description:
      - Where a new bucket should be. It is a hint only, and cannot be changed. A bucket that is elsewhere is warned
        about.
    type: str
    choices: [apac, eeur, enam, weur, wnam, oc]
  storage_class:
    description: Class of objects that are uploaded without one. Those that are there keep theirs.
    type: str
    choices: [Standard, InfrequentAccess]
  lifecycle:
    description:
      - The rules by which objects go. An empty list removes them all, but for R2's own rule for uploads that were given
        up (7 days), which stays unless a rule without a prefix has O(lifecycle[].abort_uploads_after_days).
    type: list
    elements: dict
    suboptions:
      id:
        description: Name of the rule.
        type: str
        required: true
      enabled:
        description: Whether it is followed.
        type: bool
        default: true
      prefix:
        description: Beginning of the keys that it is about; all of them where it is empty.
        type: str
        default: ""
      abort_uploads_after_days:
        description: After how many days an upload that was not finished is given up.
        type: int
      delete_after_days:
        description: How old objects become.
        type: int
      delete_on:
        description: When objects go, like V(2027-01-01T00:00:00Z).
        type: str
      infrequent_access_after_days:
        description: After how many days objects move to the class for what is seldom read.
        type: int
      infrequent_access_on:
        description: When objects move to the class for what is seldom read, like V(2027-01-01T00:00:00Z).
        type: str
  cors:
    description: What scripts of other sites may do. An empty list removes all rules.
    type: list
    elements: dict
    suboptions:
      id:
        description: Name of the rule.
        type: str
      origins:
        description: Sites that may, like V(https://example.org).
        type: list
        elements: str
        required: true
      methods:
        description: What they may do.
        type: list
        elements: str
        choices: [GET, PUT, POST, DELETE, HEAD]
        required: true
      headers:
        description: Headers that they may send.
        type: list
        elements: str
        default: []
      expose_headers:
        description: Headers that they may read.
        type: list
        elements: str
        default: []
      max_age_seconds:
        description: How long a browser may keep the answer, at most 86400.
        type: int
  lock:
    description:
      - Rules by which objects can be neither overwritten nor removed, those that are there included. An empty list
        removes all rules.
      - A lock that is longer than a backup is kept makes its removal fail.
    type: list
    elements: dict
    suboptions:
      id:
        description: Name of the rule.
        type: str
        required: true
      enabled:
        description: Whether it holds.
        type: bool
        default: true
      prefix:
        description: Beginning of the keys that it is about; all of them where it is empty.
        type: str
        default: ""
      days:
        description: For how many days after its upload an object is held. Excludes O(lock[].until).
        type: int
      until:
        description: Until when objects are held, like V(2027-01-01T00:00:00Z).
        type: str
      forever:
        description: Whether objects are held without end.
        type: bool
        default: false
  r2_dev:
    description: Whether everybody may read at the bucket's address below C(r2.dev), which is slow and for trials only.
    type: bool
  domains:
    description: Custom domains at which everybody may read. Those that are not named are taken off the bucket.
    type: list
    elements: dict
    suboptions:
      domain:
        description: Name of the domain.
        type: str
        required: true
      zone:
        description: Zone of the domain, by name or id. A name takes the permission C(Zone Read).
        type: str
        required: true
      enabled:
        description: Whether it is served.
        type: bool
        default: true
      min_tls:
        description: Oldest version of TLS that is spoken.
        type: str
        choices: ["1.0", "1.1", "1.2", "1.3"]
        default: "1.2"
      ciphers:
        description: Ciphers that are spoken; Cloudflare's own choice where none is named.
        type: list
        elements: str
  wait:
    description: Whether the module ends only when the custom domains are active.
    type: bool
    default: true
  wait_seconds:
    description: For how long each custom domain is waited for.
    type: int
    default: 600
  s3_endpoint:
    description: URL of the server, for O(backend=s3).
    type: str
  s3_access_key:
    description: Access key, for O(backend=s3).
    type: str
  s3_secret_key:
    description: Secret key, for O(backend=s3).
    type: str
  s3_region:
    description: Region that requests are signed for, for O(backend=s3).
    type: str
    default: us-east-1
notes:
  - The token needs C(Workers R2 Storage Write).
  - To empty a bucket takes one request for each object with O(backend=r2), and one for a thousand with O(backend=s3).
requirements:
  - boto3 for O(backend=s3)
"""

EXAMPLES = r"""
- name: A bucket for backups that nobody can remove for a week
  sapflux.hosting.r2_bucket:
    account_id: 0123456789abcdef0123456789abcdef
    name: backup
    jurisdiction: eu
    lifecycle: [{id: old, prefix: base/, delete_after_days: 60}]
    lock: [{id: week, prefix: wal/, days: 7}]

- name: Files for everybody
  sapflux.hosting.r2_bucket:
    account_id: 0123456789abcdef0123456789abcdef
    name: files
    domains: [{domain: files.example.org, zone: example.org}]
    cors: [{origins: ["https://example.org"], methods: [GET]}]

- name: The same on MinIO
  sapflux.hosting.r2_bucket:
    backend: s3
    name: backup
    s3_endpoint: https://minio.example.org
    s3_access_key: "{{ access_key }}"
    s3_secret_key: "{{ secret_key }}"
    lifecycle: [{id: old, prefix: base/, delete_after_days: 60}]
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create bucket backup, change lifecycle of bucket backup]
name:
  description: Name of the bucket.
  type: str
  returned: always
location:
  description: Where the bucket is, empty where there is none yet and with O(backend=s3).
  type: str
  returned: always
domains:
  description: The custom domains of O(domains), each with the states of its ownership and its certificate.
  type: list
  elements: dict
  returned: always
  sample: [{domain: files.example.org, ownership: active, ssl: active}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_converge, _r2_s3, _r2_wish
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ACCOUNT_OPTIONS,
    OPTIONS,
    Cloudflare,
    CloudflareError,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._r2 import R2
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_options import BUCKET_OPTIONS

ARGUMENT_SPEC: dict[str, Any] = {
    "api_token": {**OPTIONS["api_token"], "required": False},
    "account_id": {**ACCOUNT_OPTIONS["account_id"], "required": False},
    **BUCKET_OPTIONS,
}
NOT_OF_S3 = ("storage_class", "lock", "r2_dev", "domains", "location")


def converge(module: AnsibleModule) -> dict[str, Any]:
    """Look at the bucket, plan, and act."""
    params = module.params
    wish = _r2_wish.wanted(params)
    store: Any
    if params["backend"] == "s3":
        refused = [key for key in NOT_OF_S3 if params[key] is not None]
        refused += ["jurisdiction"] if params["jurisdiction"] != "default" else []
        if refused:
            raise CloudflareError(f"S3 has no {' and no '.join(refused)}: leave it out, or use the backend r2")
        keys = params["s3_access_key"], params["s3_secret_key"]
        store = _r2_s3.S3(_r2_s3.connect(params["s3_endpoint"], *keys, params["s3_region"]))
    else:
        cloud = Cloudflare(params["api_token"], params["base_url"])
        store = R2(cloud, params["account_id"], params["jurisdiction"])
        if "domains" in wish and params["state"] == "present":
            wish["domains"] = [_r2_wish.domain_wish(cloud, each) for each in wish["domains"]]
        if "lifecycle" in wish:
            wish["lifecycle"] = _r2_wish.keep_abort_rule(wish["lifecycle"])
    have = store.read(params["name"])
    if params["state"] == "absent":
        return _r2_converge.absent(module, store, have)
    return _r2_converge.present(module, store, have, wish)


def main() -> None:
    module = AnsibleModule(
        argument_spec={**OPTIONS, **ARGUMENT_SPEC},
        supports_check_mode=True,
        required_if=[
            ("backend", "r2", ("api_token", "account_id")),
            ("backend", "s3", ("s3_endpoint", "s3_access_key", "s3_secret_key")),
        ],
    )
    try:
        result = converge(module)
    except CloudflareError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
