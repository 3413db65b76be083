# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that knows who may reach SSH from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._lockdown import lockdown_ssh_cidrs


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"lockdown_ssh_cidrs": lockdown_ssh_cidrs}
