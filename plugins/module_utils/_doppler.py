# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to Doppler's API v3 (private to this collection).

An error is ``{messages: [text], success: false}``. :class:`Doppler` turns it into one sentence with the way out, in
which neither the token nor a value that was sent or read ever stands.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.sapflux.hosting.plugins.module_utils._http import (
    MASK,
    Answer,
    Client,
    Headers,
    HttpError,
    Opener,
)

BASE = "https://api.doppler.com"
CONFIG = "/v3/configs/config"
TIMEOUT = 10.0
TOKEN = re.compile(r"dp\.(?P<kind>[a-z]+)\.[A-Za-z0-9._-]+")
NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
MANAGED: FrozenSet[str] = frozenset({"DOPPLER_PROJECT", "DOPPLER_ENVIRONMENT", "DOPPLER_CONFIG"})
"""Names that Doppler puts into every config and that nobody may set."""
KINDS = {
    "ct": "a token of the command line",
    "pt": "a personal token",
    "sa": "a token of a service account",
    "said": "a token of an identity",
}
"""Kinds of tokens that can read configs, but for service tokens (``st``), which know their config."""
SHORT = 4
"""Characters below which a value is masked only where it stands alone: it would take whole sentences with it."""
pause = time.sleep
"""A seam for tests."""

OPTIONS: Dict[str, Any] = {
    "token": {"type": "str", "required": True, "no_log": True, "fallback": (env_fallback, ["DOPPLER_TOKEN"])},
    "project": {"type": "str", "fallback": (env_fallback, ["DOPPLER_PROJECT"])},
    "config": {"type": "str", "fallback": (env_fallback, ["DOPPLER_CONFIG"])},
    "base_url": {"type": "str", "default": BASE, "fallback": (env_fallback, ["DOPPLER_API_HOST"])},
}


class DopplerError(Exception):
    """The API refused, or what was asked makes no sense. One sentence with the way out, no secret in it.

    ``status`` is that of the answer (0: none came, -1: nothing was asked).
    """

    def __init__(self, message: str, status: int = -1) -> None:
        super().__init__(message)
        self.status = status


class Doppler:
    """The API with one token, on one config. ``requests`` of ``client`` counts what was sent.

    A service token knows its config; every other token needs ``project`` and ``config``.
    """

    def __init__(
        self,
        token: str,
        project: Optional[str] = None,
        config: Optional[str] = None,
        base: str = BASE,
        opener: Optional[Opener] = None,
    ) -> None:
        kind = kind_of(token)
        if kind != "st" and not (project and config):
            raise DopplerError(
                f"{KINDS[kind]} sees more than one config: give both project and config, or use a service token"
            )
        self.where = {"project": project or None, "config": config or None}
        self.hidden: List[str] = [token]
        self.client = _client(base, self.hidden, opener, {"Authorization": f"Bearer {token}"})

    def ask(
        self,
        method: str,
        path: str,
        body: Optional[Mapping[str, Any]] = None,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Headers] = None,
        accept: Sequence[int] = (),
    ) -> Answer:
        """The answer to one request about the config. Raises :class:`DopplerError`."""
        if body is not None:
            body = {**{key: value for key, value in self.where.items() if value}, **body}
        else:
            query = {**self.where, **(query or {})}
        return _ask(self.client, method, path, query, body, headers, accept)

    def hide(self, values: Iterable[Any]) -> None:
        """Keep these values out of every message from now on."""
        self.hidden.extend(value for value in values if isinstance(value, str))

    def download(self, only: Sequence[str] = (), etag: str = "") -> Tuple[Optional[Dict[str, str]], str]:
        """(computed values by name, etag); the values are None where they are still those of ``etag``."""
        query = {"format": "json", "secrets": ",".join(sorted(only)) or None}
        answer = self.ask(
            "GET", f"{CONFIG}/secrets/download", None, query, {"If-None-Match": etag} if etag else None, [304]
        )
        if answer.status == 304:
            return None, etag
        values = answer.body
        if not isinstance(values, dict) or any(not isinstance(value, str) for value in values.values()):
            raise DopplerError("Doppler answered a download with something else than names and texts", answer.status)
        return values, answer.headers.get("etag", "")

    def raw(self) -> Dict[str, Dict[str, Any]]:
        """``{name: {raw, rawVisibility, ...}}`` of all secrets that somebody set; restricted ones have raw None."""
        answer = self.ask("GET", f"{CONFIG}/secrets", None, {"include_managed_secrets": False})
        found = (answer.body or {}).get("secrets") or {}
        secrets = {name: value for name, value in found.items() if name not in MANAGED}
        self.hide(secret.get(key) for secret in secrets.values() for key in ("raw", "computed"))
        return secrets


def login(identity: str, token: str, base: str = BASE, opener: Optional[Opener] = None) -> str:
    """A short-lived token for an identity of a service account, in exchange for the OIDC token of a CI job.

    Raises :class:`DopplerError`.
    """
    client = _client(base, [token], opener, {})
    answer = _ask(client, "POST", "/v3/auth/oidc", None, {"identity": identity, "token": token}, None, ())
    given = (answer.body or {}).get("token")
    if not isinstance(given, str) or not TOKEN.fullmatch(given):
        raise DopplerError("Doppler answered the login of the identity without a token", answer.status)
    return given


def kind_of(token: str) -> str:
    """The kind of a token, like ``st``. Raises :class:`DopplerError` where it is none that reads configs."""
    # What cannot be a token would come back in an error of the header check, or break the request apart.
    found = TOKEN.fullmatch(token)
    if not found:
        raise DopplerError("token is no token of Doppler (dp.st.…): copy it again, whole and without spaces")
    kind = found["kind"]
    if kind != "st" and kind not in KINDS:
        raise DopplerError(f"a token dp.{kind} does not read configs: use a service token (dp.st.…)")
    return kind


def reasons(body: Any) -> str:
    """What an error body says, "" where it says nothing."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list):
        return ""
    return "; ".join(str(message).strip().rstrip(".") for message in messages)


def masked(text: str, hidden: Iterable[str]) -> str:
    """``text`` without what is to be hidden, however it is quoted."""
    for value in sorted({each for each in hidden if each.strip()}, key=len, reverse=True):
        for form in (value, json.dumps(value)[1:-1]):
            if len(form) >= SHORT:
                text = text.replace(form, MASK)
            else:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", MASK, text)
    return TOKEN.sub(MASK, text)


def way_out(status: int, reason: str) -> str:
    """The way out of a refusal, with the words that join it to the reason; "" where none is known."""
    if status == 401 or "nvalid Service token" in reason or "nvalid Auth token" in reason:
        return "; check that the token is whole, neither revoked nor expired, and that this address may use it"
    if "Could not find requested" in reason or status == 404:
        return (
            "; check project and config, and that the token sees them"
            " (a service account also needs a role in the workplace other than no access)"
        )
    if status == 403:
        return "; give the token access to this config: to write it, read/write"
    return ""


def _client(base: str, hidden: Sequence[str], opener: Optional[Opener], headers: Headers) -> Client:
    return Client(
        "Doppler",
        base.rstrip("/"),
        headers,
        tuple(hidden),
        explain=lambda _status, body: masked(reasons(body), hidden),
        # Its servers answer JSON where they decided; a 5xx of what is in front of them is a page.
        final=lambda status, body: status >= 500 and isinstance(body, dict),
        timeout=TIMEOUT,
        opener=opener,
        sleep=lambda seconds: pause(seconds),
    )


def _ask(
    client: Client,
    method: str,
    path: str,
    query: Optional[Mapping[str, Any]],
    body: Any,
    headers: Optional[Headers],
    accept: Sequence[int],
) -> Answer:
    try:
        return client.request(method, path, query, body, headers, accept=accept)
    except HttpError as error:
        way = way_out(error.status, reasons(error.body))
        raise DopplerError(f"{error}{way}", error.status) from error


Act = Callable[[AnsibleModule, Doppler], Mapping[str, Any]]


def run(spec: Mapping[str, Any], act: Act, **more: Any) -> None:
    """The body of a module: its options with those that all share, ``act``, and every refusal as one sentence."""
    module = AnsibleModule(argument_spec={**OPTIONS, **spec}, supports_check_mode=True, **more)
    params = module.params
    try:
        doppler = Doppler(params["token"], params["project"], params["config"], params["base_url"])
        result = dict(act(module, doppler))
    except DopplerError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
