# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document ``site`` with all its defaults (private to this collection).

Almost every task needs it and pays for what is imported here, so the rules are elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import (
    load_schema,
    plain,
    show,
    with_defaults,
)


def complete(document: Any) -> dict[str, Any]:
    """A plain copy of ``document`` with all defaults, those that follow from other keys included.

    Raises ``TypeError`` when it is no mapping. Nothing else is checked here: see :func:`validate`.
    """
    if not isinstance(document, Mapping):
        raise TypeError(f"the document site is not a mapping but {show(plain(document))}")
    full: dict[str, Any] = with_defaults(load_schema(), plain(document))
    return derive(full)


def derive(document: dict[str, Any]) -> dict[str, Any]:
    """Fill in, in place, the defaults that follow from other keys: host names and owners."""
    for service in document.get("services") or []:
        if isinstance(service, dict):
            if service.get("hostname") is None and service.get("name") and document.get("domain"):
                service["hostname"] = f"{service['name']}.{document['domain']}"
            for section in ("env", "secrets"):
                values = service.get(section)
                if isinstance(values, dict):
                    # Ports and flags are numbers in YAML and text in an environment.
                    service[section] = {
                        key: str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
                        for key, value in values.items()
                    }
    for database in (document.get("postgres") or {}).get("databases") or []:
        if isinstance(database, dict) and database.get("owner") is None and database.get("name"):
            database["owner"] = f"{database['name']}_owner"
    return document
