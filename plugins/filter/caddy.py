# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Site blocks of a Caddyfile from structured data.

Everything that reaches the Caddyfile is checked against a narrow syntax first: a value with a brace, a quote or a line
break would not be a *value* any more, and a half-understood configuration is worse than a refused one.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: caddy_site_blocks
short_description: Site blocks of a Caddyfile from structured data
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Renders one Caddyfile site block for each site. Routes keep their order, the first one that matches answers, and a
    request that matches none is answered with 404.
  - A V(deny) route is answered with 404 as well, and C(/admin/*) also covers C(/admin) itself, so that a denied area
    does not even show that it exists.
  - Refuses values that are not plainly a host name, a path, an upstream or a number.
positional: _input
options:
  _input:
    description: The sites, each a dictionary with V(hostname), V(routes) and optionally V(max_body_mb) (default 10).
    type: list
    elements: dict
    required: true
  tls_mode:
    description: Where certificates come from. V(internal) is Caddy's own certificate authority.
    type: str
    choices: [internal]
    default: internal
  hsts_max_age:
    description: Seconds a browser shall insist on HTTPS. V(0) leaves the header out.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Show the site blocks
  ansible.builtin.debug:
    msg: "{{ sites | sapflux.hosting.caddy_site_blocks(hsts_max_age=300) }}"
  vars:
    sites:
      - hostname: api.example.org
        routes:
          - {path: "/admin/*", action: deny}
          - {path: "/*", action: proxy, upstream: "127.0.0.1:18080"}
"""

RETURN = r"""
_value:
  description: The site blocks, one after the other, without a line break at the end.
  type: str
"""

SITE_KEYS = frozenset({"hostname", "max_body_mb", "routes"})
ROUTE_KEYS = frozenset({"path", "action", "upstream"})
ACTIONS = ("proxy", "deny")
TLS_MODES = ("internal",)
DEFAULT_MAX_BODY_MB = 10
#: How long a request waits for an upstream that is being replaced, before it is answered with 502.
UPSTREAM_WAIT = "5s"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_PATH = re.compile(r"/(?:[A-Za-z0-9._~@:+,;=!&'()-]+/)*(?:[A-Za-z0-9._~@:+,;=!&'()-]+|\*)?")
_UPSTREAM = re.compile(
    rf"(?P<host>\[[0-9a-f:]+\]|[0-9]+(?:\.[0-9]+){{3}}|{_LABEL}(?:\.{_LABEL})*):(?P<port>[0-9]{{1,5}})"
)


def _integer(value: object, what: str, low: int, high: int) -> int:
    """A whole number in low..high; bool is refused because `true` is not a size."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not re.fullmatch(r"[0-9]{1,12}", str(value)):
        raise AnsibleFilterError(f"{what} is {value!r}; write a whole number from {low} to {high}")
    number = int(value)
    if not low <= number <= high:
        raise AnsibleFilterError(f"{what} is {number}; write a whole number from {low} to {high}")
    return number


def _matched(value: object, what: str, pattern: re.Pattern[str], wanted: str) -> str:
    """The value as str when it matches the pattern completely; the error says what would."""
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise AnsibleFilterError(f"{what} is {value!r}; write {wanted}")
    return str(value)


def _mapping(value: object, what: str, keys: frozenset[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise AnsibleFilterError(
            f"{what} is a {type(value).__name__}; write a dictionary with the keys {', '.join(sorted(keys))}"
        )
    unknown = sorted(str(key) for key in value if key not in keys)
    if unknown:
        raise AnsibleFilterError(f"{what} has the unknown key {unknown[0]!r}; known keys are {', '.join(sorted(keys))}")
    return value


def _list(value: object, what: str) -> Sequence[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise AnsibleFilterError(f"{what} is a {type(value).__name__}; write a list")
    return value


def matcher_paths(path: str, action: str) -> list[str]:
    """Paths Caddy must match for one route.

    A denied `/admin/*` has to cover `/admin` too: Caddy's `/admin/*` alone leaves the bare name open. The caller has
    checked the shape of the path.
    """
    if action == "deny" and path.endswith("/*") and path != "/*":
        return [path[:-2], path]
    return [path]


def _upstream(value: object, what: str) -> str:
    text = _matched(value, what, _UPSTREAM, "host:port, for example 127.0.0.1:18080")
    _integer(text.rsplit(":", 1)[1], f"the port of {what}", 1, 65535)
    return text


def _route(route: object, where: str, number: int) -> tuple[list[str], bool]:
    """Lines of one route and whether it matches every path."""
    given = _mapping(route, where, ROUTE_KEYS)
    path = _matched(
        given.get("path"), f"{where}.path", _PATH, "an exact path such as /health, or a prefix such as /admin/*"
    )
    action = given.get("action")
    if action not in ACTIONS:
        raise AnsibleFilterError(f"{where}.action is {action!r}; write one of {', '.join(ACTIONS)}")
    if action == "proxy":
        upstream = _upstream(given.get("upstream"), f"{where}.upstream")
        answer = [
            f"reverse_proxy {upstream} {{",
            f"\tlb_try_duration {UPSTREAM_WAIT}",
            "\tlb_try_interval 250ms",
            "\theader_up X-Real-Ip {client_ip}",
            "}",
        ]
    else:
        if given.get("upstream"):
            raise AnsibleFilterError(
                f"{where} denies and names the upstream {given['upstream']!r}; leave the upstream out"
            )
        answer = ["respond 404"]
    lines = ["handle {"]
    if path != "/*":
        # A named matcher, since an inline matcher takes only one path.
        lines = [f"@route{number} path {' '.join(matcher_paths(path, str(action)))}", f"handle @route{number} {{"]
    return [*lines, *(f"\t{line}" for line in answer), "}"], path == "/*"


def _routes(routes: object, where: str) -> list[str]:
    """Lines of all routes of a site, closed by a 404 for what no route matches."""
    given = _list(routes, where)
    if not given:
        raise AnsibleFilterError(
            f'{where} is empty; write at least one route, for example {{path: "/*", action: deny}}'
        )
    lines: list[str] = []
    complete = False
    for number, route in enumerate(given):
        if complete:
            raise AnsibleFilterError(
                f"{where}[{number}] is never reached, the route before it matches every path; put it earlier"
            )
        some, complete = _route(route, f"{where}[{number}]", number)
        lines += some
    return lines if complete else [*lines, "handle {", "\trespond 404", "}"]


def _site(site: object, where: str, tls_mode: str, hsts_max_age: int) -> tuple[str, list[str]]:
    given = _mapping(site, where, SITE_KEYS)
    hostname = _matched(
        given.get("hostname"),
        f"{where}.hostname",
        _HOSTNAME,
        "a full host name in lower case, for example api.example.org",
    )
    body = _integer(given.get("max_body_mb", DEFAULT_MAX_BODY_MB), f"{where}.max_body_mb", 1, 100_000)
    headers = [
        # "?" = only when the application has not said something itself.
        "X-Content-Type-Options nosniff",
        "?X-Frame-Options DENY",
        "?Referrer-Policy strict-origin-when-cross-origin",
        "-Server",
        "-X-Powered-By",
    ]
    if hsts_max_age:
        headers.insert(0, f'Strict-Transport-Security "max-age={hsts_max_age}"')
    block = [
        f"tls {tls_mode}",
        "import access_log",
        "encode zstd gzip",
        "request_body {",
        f"\tmax_size {body}MB",
        "}",
        "header {",
        *(f"\t{line}" for line in headers),
        "}",
        # `route` keeps the written order; outside of it Caddy would sort the handlers by the length of their paths.
        "route {",
        *(f"\t{line}" for line in _routes(given.get("routes"), f"{where}.routes")),
        "}",
    ]
    return hostname, [f"{hostname} {{", *(f"\t{line}" for line in block), "}"]


def caddy_site_blocks(sites: object, tls_mode: str = "internal", hsts_max_age: object = 300) -> str:
    """Site blocks for `sites`: [{hostname, max_body_mb, routes: [{path, action: proxy|deny, upstream}]}].

    `max_body_mb` is in MB, `hsts_max_age` in seconds. Raises AnsibleFilterError that names the value and what to write.
    """
    if tls_mode not in TLS_MODES:
        raise AnsibleFilterError(f"tls_mode is {tls_mode!r}; write one of {', '.join(TLS_MODES)}")
    seconds = _integer(hsts_max_age, "hsts_max_age", 0, 63_072_000)
    blocks: list[str] = []
    seen: set[str] = set()
    for number, site in enumerate(_list(sites, "sites")):
        hostname, lines = _site(site, f"sites[{number}]", tls_mode, seconds)
        if hostname in seen:
            raise AnsibleFilterError(
                f"the host name {hostname} is given to two sites; give all its routes to one of them"
            )
        seen.add(hostname)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


class FilterModule:
    """Filters for the caddy role."""

    def filters(self) -> dict[str, t.Callable[..., object]]:
        return {"caddy_site_blocks": caddy_site_blocks}
