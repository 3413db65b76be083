# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that judge and print what M(sapflux.hosting.host_status) found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._status_report import document, problems, screen


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"status_document": document, "status_problems": problems, "status_screen": screen}
