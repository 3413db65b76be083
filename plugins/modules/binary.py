#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: binary
short_description: Install one pinned program
version_added: 0.1.0
description:
  - Installs a single executable, from a URL or from a file on the controller, only if it has the SHA-256 that is given.
  - Each version lies in a folder of its own and a symlink leads to the one in use. The link is moved in one step after
    everything else is in place, so it always leads to a whole program, also when the run is cut off.
  - The version used before is kept, so going back to it downloads nothing.
  - When nothing has to be done this costs one remote task. A file on the controller is sent only if the host needs it.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  name:
    description: Name of the program, and of the file that is installed.
    type: str
    required: true
  version:
    description: Version of the program. Required when O(state=present).
    type: str
  sha256:
    description:
      - SHA-256 of the file as it is downloaded or sent, 64 hexadecimal digits. With O(member) that is the archive.
      - Required when O(state=present).
    type: str
  url:
    description:
      - Where the host downloads the file. Proxy variables in the environment of the task are respected.
      - Exactly one of O(url) and O(src) is required when O(state=present).
    type: str
  src:
    description:
      - A file on the controller. A relative path is searched like that of M(ansible.builtin.copy), in C(files) of the
        role and beside the playbook. The file must be there, and must have the digest O(sha256) before it is sent.
    type: path
  remote_src:
    description: Whether O(src) is a file on the host instead, which is then copied from there and left where it is.
    type: bool
    default: false
  member:
    description: Name of the program inside the file, when the file is a C(.tar.gz) archive.
    type: str
  link:
    description:
      - The symlink that leads to the version in use, an absolute path. Defaults to C(/usr/local/bin/) and O(name).
    type: str
  directory:
    description:
      - Where versions are kept, an absolute path. Each is C(<name>/<version>-<12 digits of sha256>/<name>) below it.
    type: str
    default: /usr/local/lib/sapflux
  keep:
    description: How many previous versions are kept. Older ones are removed.
    type: int
    default: 1
  rehash:
    description:
      - Whether to read the whole installed program and compare its digest with the one recorded when it was installed.
      - Otherwise size, time of modification, mode and owner are compared, and the program is read only if they differ.
    type: bool
    default: false
  verify:
    description:
      - What to ask the program before anything leads to it, and again when the question changes.
      - It is run on the host as the user of the task. A program that fails, or does not print all that
        O(verify.contains) lists, is refused and the version in use stays.
    type: dict
    suboptions:
      arguments:
        description: Arguments to run the program with.
        type: list
        elements: str
        required: true
      contains:
        description: Lines the program has to print, without leading and trailing blanks.
        type: list
        elements: str
        default: []
  state:
    description: V(absent) removes everything this module made for O(name), all versions and links.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in check mode and predict changes without making any.
    support: full
  diff_mode:
    description: Shows version and digest before and after.
    support: full
  platform:
    description: Target systems.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Install WAL-G from its release
  sapflux.hosting.binary:
    name: wal-g
    version: 3.0.9
    url: https://github.com/wal-g/wal-g/releases/download/v3.0.9/wal-g-pg-22.04-amd64.tar.gz
    sha256: "{{ walg_sha256 }}"
    member: wal-g-pg-22.04-amd64

- name: Install a program that was built on the controller
  sapflux.hosting.binary:
    name: caddy
    version: 2.11.9
    src: build/caddy
    sha256: "{{ caddy_sha256 }}"

- name: Refuse a build without the DNS provider for Cloudflare
  sapflux.hosting.binary:
    name: caddy
    version: 2.11.9
    src: build/caddy
    sha256: "{{ caddy_sha256 }}"
    verify:
      arguments: [list-modules, --skip-standard]
      contains: [dns.providers.cloudflare]

- name: Remove it with all its versions
  sapflux.hosting.binary:
    name: caddy
    state: absent
"""

RETURN = r"""
path:
  description: The program itself, in the folder of its version. Null when O(state=absent).
  returned: always
  type: str
  sample: /usr/local/lib/sapflux/caddy/2.11.9-d8867f80a108/caddy
link:
  description: The symlink that leads to it.
  returned: always
  type: str
  sample: /usr/local/bin/caddy
version:
  description: The version in use. Null when O(state=absent).
  returned: always
  type: str
  sample: 2.11.9
sha256:
  description: The digest it was installed by. Null when O(state=absent).
  returned: always
  type: str
  sample: d8867f80a108b792d0bd7bcf05c7285aa081c5932845b25d0f9eba19417838c2
previous:
  description:
    - The newest other version that is kept; a run with its version and digest goes back to it. Null if there is none.
  returned: always
  type: dict
  contains:
    version:
      description: Its version.
      type: str
    sha256:
      description: The digest it was installed by.
      type: str
    path:
      description: Where it lies.
      type: str
"""

import os
import shutil
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._binary import (
    ARGUMENT_SPEC,
    CONSTRAINTS,
    Plan,
    Store,
    Wanted,
    wanted_from,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._binary_fetch import BinaryError, download


def brief(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what is told about a version: its version, digest and path."""
    return record and {key: record[key] for key in ("version", "sha256", "path")}


def result_of(wanted: Wanted, plan: Plan) -> dict[str, Any]:
    """Return the result of state=present, the same whether the plan was carried out or only made."""
    after = {"version": wanted.version, "sha256": wanted.sha256, "path": wanted.path}
    return {
        "changed": plan.changed,
        **after,
        "link": wanted.link,
        "previous": brief(plan.previous),
        "diff": {"before": brief(plan.current) or {}, "after": after},
    }


def fetch(params: dict[str, Any], handle: BinaryIO) -> None:
    """Write the file to C(handle): a download, or a copy of what lies on this host."""
    if params["url"]:
        download(params["name"], params["url"], handle)
        return
    try:
        with open(params["src"], "rb") as source:
            shutil.copyfileobj(source, handle, 1 << 20)
    except FileNotFoundError as error:
        raise BinaryError(f"{params['name']}: there is no file {params['src']} on this host; correct src.") from error


def present(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Install the program; if C(_needs_file) is in the result nothing was done, the action has to send it first."""
    wanted = wanted_from(params)
    store = Store(wanted)
    plan = store.plan()
    if plan.changed:
        store.refuse_foreign_link()
    needs_file = plan.install and bool(params["src"]) and not params["remote_src"]
    if plan.changed and not needs_file and not check_mode:
        plan = store.apply((lambda handle: fetch(params, handle)) if plan.install else None)
    return {**result_of(wanted, plan), "_needs_file": needs_file}


def absent(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Remove all that was made for the program."""
    wanted = wanted_from(params)
    store = Store(wanted)
    before = store.made()
    if before and not check_mode:
        store.absent()
    return {
        "changed": bool(before),
        "path": None,
        "link": wanted.link,
        "version": None,
        "sha256": None,
        "previous": None,
        "diff": {"before": {"made": before}, "after": {"made": []}},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True, **CONSTRAINTS)
    os.umask(0o022)
    act = present if module.params["state"] == "present" else absent
    try:
        result = act(module.params, module.check_mode)
    except BinaryError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{module.params['name']}: {error.strerror} ({error.filename}); is the task run with become: true?"
            if isinstance(error, PermissionError)
            else f"{module.params['name']}: {error}."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
