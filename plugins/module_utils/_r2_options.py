# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a bucket (private to this collection)."""

from __future__ import annotations

from typing import Any, Dict

from ansible_collections.sapflux.hosting.plugins.module_utils._r2_wish import METHODS

JURISDICTION: Dict[str, Any] = {
    "type": "str",
    "choices": ["default", "eu", "us", "fedramp", "fedramp-high"],
    "default": "default",
}
BUCKET_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
    "backend": {"type": "str", "choices": ["r2", "s3"], "default": "r2"},
    "jurisdiction": JURISDICTION,
    "location": {"type": "str", "choices": ["apac", "eeur", "enam", "weur", "wnam", "oc"]},
    "storage_class": {"type": "str", "choices": ["Standard", "InfrequentAccess"]},
    "lifecycle": {
        "type": "list",
        "elements": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "enabled": {"type": "bool", "default": True},
            "prefix": {"type": "str", "default": ""},
            "abort_uploads_after_days": {"type": "int"},
            "delete_after_days": {"type": "int"},
            "delete_on": {"type": "str"},
            "infrequent_access_after_days": {"type": "int"},
            "infrequent_access_on": {"type": "str"},
        },
    },
    "cors": {
        "type": "list",
        "elements": "dict",
        "options": {
            "id": {"type": "str"},
            "origins": {"type": "list", "elements": "str", "required": True},
            "methods": {"type": "list", "elements": "str", "choices": list(METHODS), "required": True},
            "headers": {"type": "list", "elements": "str", "default": []},
            "expose_headers": {"type": "list", "elements": "str", "default": []},
            "max_age_seconds": {"type": "int"},
        },
    },
    "lock": {
        "type": "list",
        "elements": "dict",
        "options": {
            "id": {"type": "str", "required": True},
            "enabled": {"type": "bool", "default": True},
            "prefix": {"type": "str", "default": ""},
            "days": {"type": "int"},
            "until": {"type": "str"},
            "forever": {"type": "bool", "default": False},
        },
    },
    "r2_dev": {"type": "bool"},
    "domains": {
        "type": "list",
        "elements": "dict",
        "options": {
            "domain": {"type": "str", "required": True},
            "zone": {"type": "str", "required": True},
            "enabled": {"type": "bool", "default": True},
            "min_tls": {"type": "str", "choices": ["1.0", "1.1", "1.2", "1.3"], "default": "1.2"},
            "ciphers": {"type": "list", "elements": "str"},
        },
    },
    "wait": {"type": "bool", "default": True},
    "wait_seconds": {"type": "int", "default": 600},
    "s3_endpoint": {"type": "str"},
    "s3_access_key": {"type": "str", "no_log": True},
    "s3_secret_key": {"type": "str", "no_log": True},
    "s3_region": {"type": "str", "default": "us-east-1"},
}
