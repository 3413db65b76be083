# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Site blocks of a Caddyfile from structured data.

Everything that reaches the Caddyfile is checked against a narrow syntax first: a value with a brace, a quote or a line
break would not be a *value* any more, and a half-understood configuration is worse than a refused one.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils import _caddy_headers, _caddy_tls
from ansible_collections.sapflux.hosting.plugins.module_utils._caddy_tls import ETC
from ansible_collections.sapflux.hosting.plugins.module_utils._networks import networks

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
  - A V(proxy) route with C(upstream_file) reads its upstream from that file for every request, so that a file renamed
    into its place moves the traffic, with no reload and no connection lost. While the file is missing or holds no
    C(host:port), the route answers 502. It must be readable for the user of the server, and lie outside of C(/home),
    C(/root) and C(/tmp), which the server does not see.
  - A V(proxy) route with C(from_cidrs) answers those networks only, by the address the connection really comes from,
    and everybody else with 404. It does not fall through to the next route.
  - A site with C(maintenance_file) answers 503 with C(Retry-After) on its V(proxy) routes while that file exists.
  - Refuses values that are not plainly a host name, a path, an upstream or a number.
positional: _input
options:
  _input:
    description:
      - The sites, each a dictionary with C(hostname), C(routes) and optionally C(max_body_mb) (default 10; a route may
        have its own), C(maintenance_file), C(headers) (name to text, or null to remove it) and C(csp).
      - A C(csp) is C(clerk) and C(umami) (host names whose scripts may run), C(sources) (directive to list of sources,
        added to a strict policy) and C(report_only).
    type: list
    elements: dict
    required: true
  fallback:
    description: Whether a site can be put under another certificate by a file that is imported where it exists.
    type: bool
    default: false
  hsts_max_age:
    description: Seconds a browser shall insist on HTTPS. V(0) leaves the header out.
    type: int
    default: 300
  exempt_cidrs:
    description:
      - Given, a client must have shown a certificate, and is answered with 403 otherwise; but for these networks, by
        the address the connection comes from.
    type: list
    elements: str
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

SITE_KEYS = frozenset({"csp", "headers", "hostname", "maintenance_file", "max_body_mb", "routes"})
ROUTE_KEYS = frozenset({"path", "action", "from_cidrs", "max_body_mb", "upstream", "upstream_file"})
ACTIONS = ("proxy", "deny")
DEFAULT_MAX_BODY_MB = 10
#: How long a request waits for an upstream that is being replaced, before it is answered with 502.
UPSTREAM_WAIT = "5s"
#: An upstream that changes hands has ended when nothing is connected to it any more, so idle connections must not stay.
DRAINABLE = ["\ttransport http {", "\t\tkeepalive 2s", "\t}"]
#: Seconds after which a client may ask again, of a site under maintenance.
MAINTENANCE_RETRY = 30

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_PATH = re.compile(r"/(?:[A-Za-z0-9._~@:+,;=!&'()-]+/)*(?:[A-Za-z0-9._~@:+,;=!&'()-]+|\*)?")
# No placeholder, no pattern, no step upwards: the file that is named is the file that is read.
_FILE = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._@+-]+)+")
# The unit sees an empty /tmp, and no home directories.
_UNSEEN = ("/home/", "/root/", "/tmp/", "/var/tmp/")  # noqa: S108 - they are refused
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


class _Guards(t.NamedTuple):
    """What stands before the routes of a site: maintenance, the size of a body in MB, and who needs no certificate.

    `exempt` is None where no certificate is demanded of clients.
    """

    maintenance: bool
    max_body_mb: int
    exempt: list[str] | None


def _refuse(message: str) -> t.NoReturn:
    raise AnsibleFilterError(message)


def _any_mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise AnsibleFilterError(f"{what} is a {type(value).__name__}; write a dictionary")
    return value


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


def _file(value: object, what: str) -> str:
    path = _matched(value, what, _FILE, "an absolute path of letters, digits and ._@+-")
    if path.startswith(_UNSEEN):
        raise AnsibleFilterError(
            f"{what} is {path}, which the server does not see; put it below /etc, /run or /var/lib"
        )
    return path


def _networks(value: object, what: str) -> list[str]:
    """Networks in CIDR notation; at least one, since a route for nobody is a mistake."""
    given = _list(value, what)
    if not given:
        raise AnsibleFilterError(f"{what} is empty; write at least one network, or leave it out")
    networks = []
    for number, one in enumerate(given):
        try:
            networks.append(str(ipaddress.ip_network(str(one))))
        except ValueError as error:
            raise AnsibleFilterError(
                f"{what}[{number}] is {one!r}; write a network such as 100.64.0.0/10: {error}"
            ) from error
    return networks


def _proxy(route: Mapping[str, object], where: str) -> list[str]:
    """Lines that pass a request on to the upstream, or to the one a file names at that moment."""
    if (route.get("upstream") is None) == (route.get("upstream_file") is None):
        raise AnsibleFilterError(f"{where} proxies; write one of upstream (host:port) and upstream_file (a path)")
    if route.get("upstream_file") is None:
        upstream = _upstream(route.get("upstream"), f"{where}.upstream")
    else:
        # The network in front keeps Caddy from taking the path in the placeholder for the address.
        upstream = f"tcp/{{file.{_file(route['upstream_file'], f'{where}.upstream_file')}}}"
    return [
        f"reverse_proxy {upstream} {{",
        f"\tlb_try_duration {UPSTREAM_WAIT}",
        "\tlb_try_interval 250ms",
        "\theader_up X-Real-Ip {client_ip}",
        *([] if route.get("upstream_file") is None else DRAINABLE),
        "}",
    ]


def _handle(matcher: str, lines: Sequence[str]) -> list[str]:
    """A block for the requests a matcher (`@name `, or nothing for the rest) picks."""
    return [f"handle {matcher}{{", *(f"\t{line}" for line in lines), "}"]


def _guarded(route: Mapping[str, object], where: str, number: int, guards: _Guards) -> list[str]:
    """Lines of a proxied route with what stands before it: who may ask, and whether the site is closed."""
    size = _integer(route.get("max_body_mb", guards.max_body_mb), f"{where}.max_body_mb", 1, 100_000)
    answer = ["request_body {", f"\tmax_size {size}MB", "}", *_proxy(route, where)]
    if guards.maintenance:
        closed = [f"header Retry-After {MAINTENANCE_RETRY}", "header Cache-Control no-store", "respond 503"]
        answer = [*_handle("@maintenance ", closed), *_handle("", answer)]
    if route.get("from_cidrs") is not None:
        networks = _networks(route["from_cidrs"], f"{where}.from_cidrs")
        # remote_ip is the peer of the connection; client_ip would be what a proxy says.
        stranger = [f"@stranger{number} not remote_ip {' '.join(networks)}"]
        answer = [*stranger, *_handle(f"@stranger{number} ", ["respond 404"]), *_handle("", answer)]
    return answer


def _route(route: object, where: str, number: int, guards: _Guards) -> tuple[list[str], bool]:
    """Lines of one route and whether it matches every path."""
    given = _mapping(route, where, ROUTE_KEYS)
    path = _matched(
        given.get("path"), f"{where}.path", _PATH, "an exact path such as /health, or a prefix such as /admin/*"
    )
    action = given.get("action")
    if action not in ACTIONS:
        raise AnsibleFilterError(f"{where}.action is {action!r}; write one of {', '.join(ACTIONS)}")
    if action == "proxy":
        answer = _guarded(given, where, number, guards)
    else:
        for key in ("upstream", "upstream_file", "from_cidrs"):
            if given.get(key):
                raise AnsibleFilterError(f"{where} denies and names the {key} {given[key]!r}; leave the {key} out")
        answer = ["respond 404"]
    if path == "/*":
        return _handle("", answer), True
    # A named matcher, since an inline matcher takes only one path.
    matcher = f"@route{number} path {' '.join(matcher_paths(path, str(action)))}"
    return [matcher, *_handle(f"@route{number} ", answer)], False


def _routes(routes: object, where: str, guards: _Guards) -> list[str]:
    """Lines of all routes of a site, closed by a 404 for what no route matches."""
    given = _list(routes, where)
    if not given:
        raise AnsibleFilterError(
            f'{where} is empty; write at least one route, for example {{path: "/*", action: deny}}'
        )
    lines: list[str] = []
    if guards.exempt is not None:
        asked = ['vars {http.request.tls.client.subject} ""', f"not remote_ip {' '.join(guards.exempt)}"]
        lines += ["@unproven {", *(f"\t{line}" for line in asked), "}"]
        lines += _handle("@unproven ", ["error 403"])
    complete = False
    for number, route in enumerate(given):
        if complete:
            raise AnsibleFilterError(
                f"{where}[{number}] is never reached, the route before it matches every path; put it earlier"
            )
        some, complete = _route(route, f"{where}[{number}]", number, guards)
        lines += some
    return lines if complete else [*lines, *_handle("", ["respond 404"])]


def _site(
    site: object, where: str, fallback: bool, hsts_max_age: int, exempt: list[str] | None
) -> tuple[str, list[str]]:
    given = _mapping(site, where, SITE_KEYS)
    hostname = _matched(
        given.get("hostname"),
        f"{where}.hostname",
        _HOSTNAME,
        "a full host name in lower case, for example api.example.org",
    )
    body = _integer(given.get("max_body_mb", DEFAULT_MAX_BODY_MB), f"{where}.max_body_mb", 1, 100_000)
    closing = given.get("maintenance_file")
    maintenance = (
        []
        if closing is None
        else [
            "@maintenance file {",
            "\troot /",
            f"\ttry_files {_file(closing, f'{where}.maintenance_file')}",
            "}",
        ]
    )
    csp = given.get("csp")
    header_block = _caddy_headers.header_lines(
        hsts_max_age,
        None if csp is None else _mapping(csp, f"{where}.csp", _caddy_headers.CSP_KEYS),
        _any_mapping(given.get("headers") or {}, f"{where}.headers"),
        where,
        _refuse,
    )
    guards = _Guards(bool(maintenance), body, exempt)
    block = [
        "import certificate",
        # A pattern may match nothing; a plain name could not.
        *([f"import {ETC}/fallback/{hostname}.caddy*"] if fallback else []),
        "import access_log",
        "encode zstd gzip",
        *header_block,
        # `route` keeps the written order; outside of it Caddy would sort the handlers by the length of their paths.
        *maintenance,
        "route {",
        *(f"\t{line}" for line in _routes(given.get("routes"), f"{where}.routes", guards)),
        "}",
        # Answers of Caddy's own making (no upstream, too large) bear the same headers.
        "handle_errors {",
        *(f"\t{line}" for line in header_block),
        "\trespond {err.status_code}",
        "}",
    ]
    return hostname, [f"{hostname} {{", *(f"\t{line}" for line in block), "}"]


def caddy_site_blocks(
    sites: object, fallback: bool = False, hsts_max_age: object = 300, exempt_cidrs: object = None
) -> str:
    """Site blocks for `sites`: [{hostname, max_body_mb, maintenance_file, routes}].

    A route is {path, action: proxy|deny, upstream (host:port) or upstream_file (a path), from_cidrs}.
    `max_body_mb` is in MB, `hsts_max_age` in seconds. Raises AnsibleFilterError that names the value and what to write.
    """
    exempt = None if exempt_cidrs is None else _networks(exempt_cidrs, "exempt_cidrs")
    seconds = _integer(hsts_max_age, "hsts_max_age", 0, 63_072_000)
    blocks: list[str] = []
    seen: set[str] = set()
    for number, site in enumerate(_list(sites, "sites")):
        hostname, lines = _site(site, f"sites[{number}]", fallback, seconds, exempt)
        if hostname in seen:
            raise AnsibleFilterError(
                f"the host name {hostname} is given to two sites; give all its routes to one of them"
            )
        seen.add(hostname)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def caddy_certificate(options: Mapping[str, object]) -> str:
    """The directive `tls` of every site from the role's options; see `_caddy_tls.certificate_lines`."""
    try:
        return "\n".join(_caddy_tls.certificate_lines(options))
    except _caddy_tls.TlsError as error:
        raise AnsibleFilterError(str(error)) from error


def caddy_proxies(cidrs: object, cloudflare: Sequence[str] = ()) -> list[str]:
    """Networks of trusted proxies; the word `cloudflare` stands for the one list of its edge."""
    problems: list[str] = []
    found = networks(cidrs, "caddy_trusted_proxies", problems, cloudflare)
    if problems:
        raise AnsibleFilterError("; ".join(problems))
    return [str(network) for network in found]


def caddy_token(value: object, name: str) -> str:
    """A token of Cloudflare as it was given. Raises AnsibleFilterError, without showing it, where it cannot be one."""
    try:
        _caddy_tls.check_token(str(value), name)
    except _caddy_tls.TlsError as error:
        raise AnsibleFilterError(str(error)) from None
    return str(value)


class FilterModule:
    """Filters for the caddy role."""

    def filters(self) -> dict[str, t.Callable[..., object]]:
        return {
            "caddy_site_blocks": caddy_site_blocks,
            "caddy_certificate": caddy_certificate,
            "caddy_token": caddy_token,
            "caddy_proxies": caddy_proxies,
            "caddy_auto_https": _caddy_tls.auto_https,
            "caddy_storage_folder": _caddy_tls.storage_folder,
        }
