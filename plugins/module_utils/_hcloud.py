# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an account of Hetzner Cloud (private to this collection).

Changes are made by the collection ``hetzner.hcloud``; this client reads a whole account in a few requests, so that a
run with nothing to do costs no more than that, and does what those modules cannot do.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.sapflux.hosting.plugins.module_utils._http import Client, HttpError

BASE_URL = "https://api.hetzner.cloud/v1"
PAGE = 50
PAGES_MOST = 200
OPTIONS: Dict[str, Any] = {
    "api_token": {
        "type": "str",
        "required": True,
        "no_log": True,
        "fallback": (env_fallback, ["HCLOUD_TOKEN"]),
    },
    "api_endpoint": {"type": "str", "default": BASE_URL, "fallback": (env_fallback, ["HCLOUD_ENDPOINT"])},
}
WORDS = {
    "unauthorized": "it does not know the token; make one in the project's security settings that may read and write",
    "forbidden": "the token may not do this; make one that may read and write",
    "token_readonly": "the token may only read; make one that may read and write",
    "resource_limit_exceeded": "the project has reached a limit; ask for more in Hetzner's console under Limits",
    "rate_limit_exceeded": "it is asked too often; run this again in a few minutes",
    "protected": "it is protected",
    "locked": "something else is being done to it; run this again in a minute",
}
"""What an error code means for the person who reads it."""
# Seams for tests.
pause: Callable[[float], None] = time.sleep


class HcloudError(Exception):
    """One sentence that names the request, the reason and the way out. ``code`` is Hetzner's, "" where it gave none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Hcloud:
    """The API of one project."""

    def __init__(self, token: str, base: str = BASE_URL, sleep: Optional[Callable[[float], None]] = None) -> None:
        self.sleep = sleep or pause
        self.client = Client(
            "Hetzner",
            base.rstrip("/"),
            {"Authorization": f"Bearer {token}"},
            secrets=[token],
            explain=lambda _status, body: explain(body),
            sleep=self.sleep,
        )

    def ask(self, method: str, path: str, query: Optional[Mapping[str, Any]] = None, body: Any = None) -> Any:
        """The JSON of one answer. Raises :class:`HcloudError`."""
        try:
            return self.client.request(method, path, query, body).body
        except HttpError as error:
            raise HcloudError(str(error), code_of(error.body)) from error

    def all(self, kind: str, query: Optional[Mapping[str, Any]] = None) -> List[Dict[str, Any]]:
        """Every item of ``/<kind>``, all pages of it."""
        found: List[Dict[str, Any]] = []
        page: Optional[int] = 1
        for _number in range(PAGES_MOST):
            answer = self.ask("GET", f"/{kind}", {**(query or {}), "page": page, "per_page": PAGE}) or {}
            found += answer.get(kind, [])
            page = ((answer.get("meta") or {}).get("pagination") or {}).get("next_page")
            if not page:
                return found
        raise HcloudError(f"Hetzner's list of {kind} has no end; look at it in the console")

    def act(self, path: str, body: Any = None, seconds: float = 180) -> None:
        """Start an action and wait until it is done. Raises :class:`HcloudError` where it fails or takes too long."""
        action = self.ask("POST", path, body=body)["action"]
        waited = 0.0
        while action["status"] == "running":
            if waited >= seconds:
                raise HcloudError(
                    f"Hetzner's action {action['command']} is not done after {seconds:.0f} s; look at it there"
                )
            self.sleep(1.0)
            waited += 1.0
            action = self.ask("GET", f"/actions/{action['id']}")["action"]
        if action["status"] != "success":
            error = action.get("error") or {}
            reason = error.get("message") or "no reason given"
            raise HcloudError(
                f"Hetzner's action {action['command']} failed: {reason}; run this again", error.get("code", "")
            )


def code_of(body: Any) -> str:
    """The code of an error body, "" where it is none."""
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or "") if isinstance(error, dict) else ""


def explain(body: Any) -> str:
    """An error body in words, its fields included; "" where it is none."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ""
    fields = [
        f"{field.get('name')}: {', '.join(map(str, field.get('messages') or []))}"
        for field in (error.get("details") or {}).get("fields") or []
    ]
    said = str(error.get("message") or error.get("code") or "")
    more = WORDS.get(str(error.get("code") or ""), "")
    return "; ".join(part for part in (said, ", ".join(fields), more) if part)


def run(spec: Mapping[str, Any], converge: Callable[[AnsibleModule, Hcloud], Dict[str, Any]]) -> None:
    """The ``main`` of a module: its options, the API, one sentence where it fails."""
    module = AnsibleModule(argument_spec={**OPTIONS, **spec}, supports_check_mode=True)
    try:
        result = converge(module, Hcloud(module.params["api_token"], module.params["api_endpoint"]))
    except HcloudError as error:
        module.fail_json(msg=str(error), code=error.code)
    module.exit_json(**result)
