# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers that every answer of a site bears, and its content security policy (private). Controller only."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

CSP_KEYS = frozenset({"clerk", "umami", "sources", "report_only"})
HSTS = "Strict-Transport-Security"

#: What a page of one's own needs, and nothing else.
BASE: dict[str, tuple[str, ...]] = {
    "default-src": ("'self'",),
    "base-uri": ("'self'",),
    "connect-src": ("'self'",),
    "font-src": ("'self'",),
    "form-action": ("'self'",),
    "frame-ancestors": ("'none'",),
    "img-src": ("'self'", "data:"),
    "object-src": ("'none'",),
    "script-src": ("'self'",),
    "style-src": ("'self'",),
}
TURNSTILE = "https://challenges.cloudflare.com"

_DIRECTIVE = re.compile(r"[a-z]+(?:-[a-z]+)*")
_SOURCE = re.compile(
    r"'(?:self|none|unsafe-inline|unsafe-eval|wasm-unsafe-eval|strict-dynamic|report-sample|nonce-[A-Za-z0-9+/=_-]+"
    r"|sha(?:256|384|512)-[A-Za-z0-9+/=]+)'|(?:https|wss|data|blob):(?://)?[A-Za-z0-9.*:/_~%-]*|\*?[A-Za-z0-9.-]+"
)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+(?::[0-9]{1,5})?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_VALUE = re.compile(r"[ !#-[\]-z|~]{1,2000}")
"""Printable, without what means something in a Caddyfile: quotes, backslash and braces."""

Refuse = t.Callable[[str], t.NoReturn]


def _host(value: object, what: str, refuse: Refuse) -> str:
    if not isinstance(value, str) or _HOST.fullmatch(value) is None:
        refuse(f"{what} is {value!r}; write a host name such as clerk.example.org")
    return f"https://{value}"


def policy(csp: Mapping[str, t.Any], where: str, refuse: Refuse) -> tuple[str, str]:
    """(name of the header, its value) for {clerk: host, umami: host, sources: {directive: [source]}, report_only}.

    `clerk` is the host of Clerk's frontend API, `umami` that of the statistics; both get what their scripts need.
    """
    found: dict[str, list[str]] = {directive: list(sources) for directive, sources in BASE.items()}

    def add(directive: str, *sources: str) -> None:
        there = found.setdefault(directive, [])
        if there == ["'none'"]:
            there.clear()
        there.extend(source for source in sources if source not in there)

    if csp.get("clerk"):
        clerk = _host(csp["clerk"], f"{where}.clerk", refuse)
        add("script-src", clerk, TURNSTILE)
        add("connect-src", clerk)
        add("img-src", "https://img.clerk.com")
        add("frame-src", TURNSTILE)
        add("worker-src", "'self'", "blob:")
        # Its components set styles at run time.
        add("style-src", "'unsafe-inline'")
    if csp.get("umami"):
        umami = _host(csp["umami"], f"{where}.umami", refuse)
        add("script-src", umami)
        add("connect-src", umami)
    for directive, sources in (csp.get("sources") or {}).items():
        if _DIRECTIVE.fullmatch(str(directive)) is None:
            refuse(f"{where}.sources names {directive!r}; write a directive such as connect-src")
        if isinstance(sources, str) or not isinstance(sources, Sequence):
            refuse(f"{where}.sources.{directive} is {sources!r}; write a list of sources")
        for source in sources:
            if not isinstance(source, str) or _SOURCE.fullmatch(source) is None:
                refuse(
                    f"{where}.sources.{directive} holds {source!r}; write a source such as https://tiles.example.org"
                )
        add(str(directive), *sources)
    name = "Content-Security-Policy-Report-Only" if csp.get("report_only") else "Content-Security-Policy"
    return name, "; ".join(f"{directive} {' '.join(sources)}" for directive, sources in sorted(found.items()))


def header_lines(
    hsts_max_age: int, csp: Mapping[str, t.Any] | None, headers: Mapping[str, t.Any], where: str, refuse: Refuse
) -> list[str]:
    """The directive `header` of a site.

    A default (`?`) stands back when the application says something itself; what `headers` gives replaces it, None
    removes it. HSTS has one owner: the role, by `hsts_max_age` in seconds, 0 for nothing.
    """
    lines = {"X-Content-Type-Options": "X-Content-Type-Options nosniff"}
    defaults = {
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "strict-origin-when-cross-origin",
        # Windows of a login may still talk to the page that opened them.
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
        "Permissions-Policy": '"camera=(), geolocation=(self), microphone=(), payment=(), usb=()"',
    }
    lines.update({name: f"?{name} {value}" for name, value in defaults.items()})
    if hsts_max_age:
        lines = {HSTS: f'{HSTS} "max-age={hsts_max_age}"', **lines}
    if csp is not None:
        name, value = policy(csp, f"{where}.csp", refuse)
        lines[name] = f'?{name} "{value}"'
    for name, value in headers.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            refuse(f"{where}.headers names {name!r}; write the name of a header")
        if name.lower() == HSTS.lower():
            refuse(f"{where}.headers sets {name}; its one owner is caddy_hsts_max_age")
        known = next((each for each in lines if each.lower() == name.lower()), name)
        if value is None:
            lines[known] = f"-{name}"
        elif isinstance(value, str) and _VALUE.fullmatch(value):
            lines[known] = f'{name} "{value}"'
        else:
            refuse(
                f"{where}.headers.{name} is {value!r}; write one line of text without quotes, braces and backslashes"
            )
    return ["header {", *(f"\t{line}" for line in (*lines.values(), "-Server", "-X-Powered-By")), "}"]
