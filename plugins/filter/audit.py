# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that print what M(sapflux.hosting.host_audit) found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_report import documents, failures, screen, text


def audit_screen(checks: list[dict[str, str]], host: str, form: str = "text") -> str:
    """The table, or the JSON document, as one text: a list would be quoted and wrapped on the screen."""
    if form == "json":
        return text([(host, checks)])
    if form not in ("text", "short"):
        raise AnsibleFilterError(f"audit_format is {form!r}; write text, short (only what failed) or json")
    return "\n".join(screen(checks, host, everything=form == "text"))


def audit_document(hosts: list[dict[str, Any]]) -> str:
    """The JSON document about all hosts, from their variables."""
    return text(documents(hosts))


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {"audit_screen": audit_screen, "audit_document": audit_document, "audit_failures": failures}
