#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of R2, or of another server that speaks S3."""

from __future__ import annotations

DOCUMENTATION = r"""
module: r2_object
version_added: 0.1.0
short_description: Objects of Cloudflare R2, or of MinIO
description:
  - Uploads, downloads, removes and lists objects, and signs addresses for others.
  - An upload carries the SHA-256 of the file as metadata, by which the next run knows that nothing is to be done, and a
    download that it is whole. Every part is checked by the server with its MD5.
author:
  - The sapflux.hosting authors (@sapflux)
requirements:
  - boto3
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
options:
  operation:
    description: What is done. V(list) and V(presign) change nothing.
    type: str
    choices: [put, get, delete, list, presign]
    required: true
  bucket:
    description: Name of the bucket.
    type: str
    required: true
  object:
    description: Key of the object; not with O(operation=list).
    type: str
  prefix:
    description: Beginning of the keys that are listed.
    type: str
    default: ""
  src:
    description: File to upload. What is larger than a part goes in parts of 16 MiB.
    type: path
  dest:
    description: File to write. Its folder has to be there; a new file has the mode 0600.
    type: path
  content_type:
    description: Media type of the upload.
    type: str
    default: application/octet-stream
  method:
    description: What the signed address is for.
    type: str
    choices: [GET, PUT]
    default: GET
  seconds:
    description: For how long the signed address is good, at most 604800.
    type: int
    default: 900
  s3_endpoint:
    description: URL of the server; M(sapflux.hosting.r2_credentials) returns that of R2.
    type: str
    required: true
  s3_access_key:
    description: Access key. It is no secret, and a part of signed addresses.
    type: str
    required: true
  s3_secret_key:
    description: Secret key.
    type: str
    required: true
  s3_region:
    description: Region that requests are signed for.
    type: str
    default: us-east-1
notes:
  - Who has a signed address needs no key. Say C(no_log) for a task that makes one.
"""

EXAMPLES = r"""
- name: The dump is in the bucket
  sapflux.hosting.r2_object:
    operation: put
    bucket: backup
    object: dumps/app.sql.zst
    src: /var/backups/app.sql.zst
    s3_endpoint: https://0123456789abcdef0123456789abcdef.eu.r2.cloudflarestorage.com
    s3_access_key: "{{ access_key }}"
    s3_secret_key: "{{ secret_key }}"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create object dumps/app.sql.zst]
objects:
  description: The objects that were listed, sorted by key; empty with another O(operation).
  type: list
  elements: dict
  returned: always
  sample: [{key: dumps/app.sql.zst, size: 12, modified: "2026-11-01T00:00:00+00:00"}]
url:
  description: The signed address, empty with another O(operation).
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_objects, _r2_s3
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

ARGUMENT_SPEC: dict[str, Any] = {
    "operation": {"type": "str", "choices": ["put", "get", "delete", "list", "presign"], "required": True},
    "bucket": {"type": "str", "required": True},
    "object": {"type": "str"},
    "prefix": {"type": "str", "default": ""},
    "src": {"type": "path"},
    "dest": {"type": "path"},
    "content_type": {"type": "str", "default": "application/octet-stream"},
    "method": {"type": "str", "choices": ["GET", "PUT"], "default": "GET"},
    "seconds": {"type": "int", "default": 900},
    "s3_endpoint": {"type": "str", "required": True},
    # It is no secret, and part of every signed address, where it must not be masked.
    "s3_access_key": {"type": "str", "required": True, "no_log": False},
    "s3_secret_key": {"type": "str", "required": True, "no_log": True},
    "s3_region": {"type": "str", "default": "us-east-1"},
}
LONGEST = 604800


def converge(module: AnsibleModule) -> dict[str, Any]:
    """Do what is asked for, where it is not so already."""
    params = module.params
    keys = params["s3_access_key"], params["s3_secret_key"]
    client = _r2_s3.connect(params["s3_endpoint"], *keys, params["s3_region"])
    bucket = _r2_objects.Bucket(client, params["bucket"])
    changes: list[Change] = []
    objects: list[dict[str, Any]] = []
    url = ""
    if params["operation"] == "list":
        objects = bucket.listed(params["prefix"])
    elif params["operation"] == "presign":
        if not 1 <= params["seconds"] <= LONGEST:
            raise CloudflareError(f"a signed address is good for 1 to {LONGEST} seconds, not {params['seconds']}")
        url = bucket.signed(params["object"], params["method"], params["seconds"])
    else:
        changes = {"put": put, "get": get, "delete": delete}[params["operation"]](module, bucket)
    return {**outcome(changes, f"bucket {params['bucket']}"), "objects": objects, "url": url}


def put(module: AnsibleModule, bucket: _r2_objects.Bucket) -> list[Change]:
    """Upload a file unless the object is the same."""
    params, key = module.params, module.params["object"]
    local = _r2_objects.local(params["src"])
    if local is None:
        raise CloudflareError(f"{params['src']} cannot be uploaded: there is no such file")
    have = bucket.look(key)
    want = {**local, "content_type": params["content_type"]}
    if have == want:
        return []
    if not module.check_mode:
        bucket.upload(key, params["src"], local["sha256"], params["content_type"])
    return [Change("create" if have is None else "update", f"object {key}", have, want)]


def get(module: AnsibleModule, bucket: _r2_objects.Bucket) -> list[Change]:
    """Download an object unless the file is the same."""
    params, key, dest = module.params, module.params["object"], module.params["dest"]
    there = bucket.look(key)
    if there is None:
        raise CloudflareError(f"there is no object {key} in the bucket {params['bucket']}")
    want = {name: there[name] for name in ("size", "sha256")}
    have = _r2_objects.local(dest)
    # Without a checksum nobody can say whether a file is the same.
    if have == want:
        return []
    if not module.check_mode:
        bucket.download(key, dest, want["sha256"])
    return [Change("create" if have is None else "update", f"file {dest}", have, want)]


def delete(module: AnsibleModule, bucket: _r2_objects.Bucket) -> list[Change]:
    """Remove an object."""
    key = module.params["object"]
    have = bucket.look(key)
    if have is None:
        return []
    if not module.check_mode:
        bucket.remove(key)
    return [Change("delete", f"object {key}", have)]


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_if=[
            ("operation", "put", ("object", "src")),
            ("operation", "get", ("object", "dest")),
            ("operation", "delete", ("object",)),
            ("operation", "presign", ("object",)),
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
