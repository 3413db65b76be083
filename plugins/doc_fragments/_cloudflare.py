# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that Cloudflare's modules share (private to this collection)."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and attributes; :mod:`plugins.module_utils._cloudflare` holds the options themselves."""

    DOCUMENTATION = r"""
options:
  api_token:
    description:
      - API token of Cloudflare. The environment variables E(CLOUDFLARE_API_TOKEN) and E(CLOUDFLARE_TOKEN) are used
        where it is not given.
      - The global API key and the Origin CA key are not accepted; the latter stopped working in September 2026.
    type: str
    required: true
  base_url:
    description: URL of the API. The environment variable E(CLOUDFLARE_BASE_URL) is used where it is not given.
    type: str
    default: https://api.cloudflare.com/client/v4
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
  action_group:
    description: Use C(group/sapflux.hosting.cloudflare) in C(module_defaults) to set defaults for these modules.
    support: full
    membership: [sapflux.hosting.cloudflare]
notes:
  - Runs where Ansible runs; say C(delegate_to=localhost) in a play on other hosts.
  - Cloudflare allows 1200 requests in five minutes. A limit that is hit is waited for.
"""

    ZONE = r"""
options:
  zone:
    description: Name of the zone, or its id (32 hexadecimal digits). A name takes the permission C(Zone Read).
    type: str
    required: true
"""

    ACCOUNT = r"""
options:
  account_id:
    description: Id of the account. The environment variable E(CLOUDFLARE_ACCOUNT_ID) is used where it is not given.
    type: str
    required: true
"""

    STORE = r"""
options:
  store:
    description:
      - Where the secret is kept by name, besides O(path) or instead of it. Of several places each may be the one that
        still has it; the others are written from that one. Values are in no result, diff or log.
    type: dict
    suboptions:
      file:
        description: The YAML mapping that P(sapflux.hosting.secret_store#lookup) reads. It has to be there.
        type: path
      doppler:
        description: A config of Doppler.
        type: dict
        suboptions:
          token:
            description: Token that may read and write the config.
            type: str
            required: true
          project:
            description: Name of the project. A service token knows it.
            type: str
          config:
            description: Name of the config. A service token knows it.
            type: str
          base_url:
            description: URL of the API.
            type: str
            default: https://api.doppler.com
      names:
        description:
          - Names of the secrets. For M(sapflux.hosting.r2_credentials) those of C(access_key_id) and
            C(secret_access_key), for M(sapflux.hosting.cloudflare_api_token) that of C(value).
        type: dict
        required: true
"""
