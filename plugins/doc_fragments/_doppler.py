# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that Doppler's modules share (private to this collection)."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and attributes; :mod:`plugins.module_utils._doppler` holds the options themselves."""

    DOCUMENTATION = r"""
options:
  token:
    description:
      - Token of Doppler. A service token knows its config; every other kind needs O(project) and O(config). The
        environment variable E(DOPPLER_TOKEN) is used where it is not given.
    type: str
    required: true
  project:
    description: Name of the project. The environment variable E(DOPPLER_PROJECT) is used where it is not given.
    type: str
  config:
    description: Name of the config. The environment variable E(DOPPLER_CONFIG) is used where it is not given.
    type: str
  base_url:
    description: URL of the API. The environment variable E(DOPPLER_API_HOST) is used where it is not given.
    type: str
    default: https://api.doppler.com
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
  action_group:
    description: Use C(group/sapflux.hosting.doppler) in C(module_defaults) to set defaults for these modules.
    support: full
    membership: [sapflux.hosting.doppler]
notes:
  - Runs where Ansible runs; say C(delegate_to=localhost) in a play on other hosts.
  - Doppler allows 60 writes a minute on its smallest plan. A limit that is hit is waited for.
"""
