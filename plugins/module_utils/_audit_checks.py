# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: all checks of the audit, in the order in which they are shown."""

from __future__ import annotations

from typing import List

from ansible_collections.sapflux.hosting.plugins.module_utils import (
    _audit_accounts,
    _audit_network,
    _audit_services,
    _audit_ssh,
    _audit_system,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._audit import Check

CHECKS: List[Check] = [
    *_audit_ssh.CHECKS,
    *_audit_accounts.CHECKS,
    *_audit_network.CHECKS,
    *_audit_system.CHECKS,
    *_audit_services.CHECKS,
]
