#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Caddy stands on: its account, and the key of its origin certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: caddy_host
version_added: 0.1.0
short_description: The account Caddy runs as, and the key of its origin certificate
description:
  - Makes a system account that cannot log in.
  - With O(origin_dir) also makes a key that never leaves the host, a certificate signing request for it, and, until
    somebody signs that, a certificate signed by the key itself, so that a server can start with it.
  - Installs the certificate that was signed for the key.
author:
  - The sapflux.hosting authors (@sapflux)
attributes:
  check_mode:
    description: Predicts without writing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: A second run with the same options changes nothing. A key is never made anew.
    support: full
options:
  user:
    description: Name of the account, and of its group.
    type: str
    default: caddy
  home:
    description: Its home directory, which is not made.
    type: str
    default: /var/lib/caddy
  origin_dir:
    description: Directory of C(origin.key), C(origin.csr) and C(origin.pem); without it there is no origin certificate.
    type: str
  hostnames:
    description: Names of the origin certificate.
    type: list
    elements: str
    default: []
  certificate:
    description: The signed certificate in PEM.
    type: str
  renew_days:
    description: A certificate that ends within so many days is due.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: The account and the key
  sapflux.hosting.caddy_host:
    origin_dir: /var/lib/caddy/origin
    hostnames: [example.org, "*.example.org"]
  register: host

- name: Install what was signed
  sapflux.hosting.caddy_host:
    origin_dir: /var/lib/caddy/origin
    hostnames: [example.org, "*.example.org"]
    certificate: "{{ signed.certificate }}"
"""

RETURN = r"""
origin:
  description: The origin certificate; empty without O(origin_dir).
  type: dict
  returned: always
  contains:
    csr:
      description: The certificate signing request in PEM.
      type: str
    sha256:
      description: Digest of the certificate's file.
      type: str
    not_after:
      description: When it ends.
      type: str
    hostnames:
      description: Its names.
      type: list
      elements: str
    issued:
      description: Whether an authority signed it, and not only the key itself.
      type: bool
    due:
      description: Whether one must be signed.
      type: bool
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._caddy_host import (
    HostError,
    Origin,
    account,
    make_account,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError

ARGUMENT_SPEC: Dict[str, Any] = {
    "user": {"type": "str", "default": "caddy"},
    "home": {"type": "str", "default": "/var/lib/caddy"},
    "origin_dir": {"type": "str"},
    "hostnames": {"type": "list", "elements": "str", "default": []},
    "certificate": {"type": "str"},
    "renew_days": {"type": "int", "default": 30},
}


def converge(params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    """Bring account, key and certificate there. Raises :class:`HostError`."""
    found = account(params["user"])
    changed = found is None
    if found is None and not check:
        make_account(params["user"], params["home"])
        found = account(params["user"])
    if not params["origin_dir"]:
        return {"changed": changed, "origin": {}}
    if not params["hostnames"]:
        raise HostError("hostnames is empty: an origin certificate has at least one name")
    origin = Origin(params["origin_dir"], found.pw_gid if found else 0)
    changed = bool(origin.prepare(params["hostnames"], check)) or changed
    if params["certificate"]:
        changed = origin.install(params["certificate"], check) or changed
    return {"changed": changed, "origin": origin.state(params["hostnames"], params["renew_days"])}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = converge(module.params, module.check_mode)
    except (HostError, CloudflareError) as error:
        module.fail_json(msg=f"caddy_host: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
