# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Caddy's certificates come from, as lines of a Caddyfile (private). Runs on the controller only."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

MODES = ("dns01", "origin", "internal")
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
#: What Cloudflare's tokens look like; the plugin would print one that does not into the journal.
TOKEN = re.compile(r"[A-Za-z0-9_-]{35,50}|cf(?:ut|at)_[A-Za-z0-9_-]{32,256}")
#: The Caddyfile names these directories through variables, so that a new one can be checked in a staging tree.
ETC = "{$SAPFLUX_CADDY_ETC:/etc/caddy}"
CREDENTIALS = "{$SAPFLUX_CADDY_CREDENTIALS:/run/credentials/caddy.service}"

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_PROFILE = re.compile(r"[a-z0-9-]{1,40}")


class TlsError(Exception):
    """An option makes no sense. The message names it and what to write; a token is never part of it."""


def check_token(value: str, what: str) -> None:
    """Refuse what is no token of Cloudflare, without showing it."""
    if TOKEN.fullmatch(value) is None:
        hint = "it is empty" if not value else f"it has {len(value)} characters"
        raise TlsError(f"{what} is no API token of Cloudflare ({hint}); copy it again, whole and without spaces")


def check_url(value: object, what: str) -> str:
    """An https URL without anything that could end a line or a value."""
    parts = urlsplit(str(value))
    if parts.scheme != "https" or not parts.hostname or not re.fullmatch(r"https://[A-Za-z0-9._:/~-]+", str(value)):
        raise TlsError(f"{what} is {value!r}; write the https URL of an ACME directory, for example {LETS_ENCRYPT}")
    return str(value)


def check_resolver(value: object, what: str) -> str:
    """`host` or `host:port` of a DNS server."""
    host, _colon, port = str(value).partition(":") if str(value).count(":") == 1 else (str(value), "", "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host) is None:
            raise TlsError(f"{what} is {value!r}; write an address such as 1.1.1.1, or host:port") from None
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise TlsError(f"{what} is {value!r}; write a port from 1 to 65535 after the colon")
    return str(value)


def certificate_lines(options: Mapping[str, t.Any]) -> list[str]:
    """The directive `tls` of every site.

    `options`: mode; for dns01 also ca (URL), ca_root (bool: trust /etc/caddy/acme-root.pem), profile, email, resolvers,
    propagation_delay and propagation_timeout (seconds); for origin origin_dir; for all client_ca (bool: ask clients for
    a certificate of /etc/caddy/origin-pulls.pem). Raises TlsError.
    """
    mode = options["mode"]
    if mode not in MODES:
        raise TlsError(f"caddy_tls_mode is {mode!r}; write one of {', '.join(MODES)}")
    inner: list[str] = []
    if mode == "dns01":
        inner += _issuer(options)
    elif mode == "internal":
        inner += ["issuer internal"]
    if options.get("client_ca"):
        # Who shows a certificate must show one of ours; who shows none is turned away where the request is answered,
        # but for the networks the role exempts.
        inner += ["client_auth {", "\tmode verify_if_given", f"\ttrust_pool file {ETC}/origin-pulls.pem", "}"]
    files = f" {options['origin_dir']}/origin.pem {options['origin_dir']}/origin.key" if mode == "origin" else ""
    return [f"tls{files} {{", *(f"\t{line}" for line in inner), "}"] if inner else [f"tls{files}"]


def _issuer(options: Mapping[str, t.Any]) -> list[str]:
    lines = [f"dir {check_url(options['ca'], 'caddy_acme_ca')}"]
    if options.get("ca_root"):
        lines.append(f"trusted_roots {ETC}/acme-root.pem")
    if options.get("profile"):
        if _PROFILE.fullmatch(str(options["profile"])) is None:
            raise TlsError(f"caddy_acme_profile is {options['profile']!r}; write a name such as shortlived")
        lines.append(f"profile {options['profile']}")
    lines.append(f"dns cloudflare {{file.{CREDENTIALS}/cloudflare_token}}")
    resolvers: Sequence[object] = options.get("resolvers") or []
    if resolvers:
        named = [check_resolver(one, f"caddy_dns_resolvers[{index}]") for index, one in enumerate(resolvers)]
        lines.append(f"resolvers {' '.join(named)}")
    lines.append(f"propagation_delay {int(options['propagation_delay'])}s")
    lines.append(f"propagation_timeout {int(options['propagation_timeout'])}s")
    return ["issuer acme {", *(f"\t{line}" for line in lines), "}"]


def storage_folder(ca: str) -> str:
    """The folder below `certificates` where Caddy keeps what this authority issued."""
    parts = urlsplit(ca)
    path = parts.path.replace("/", "-").strip("-")
    key = (f"{parts.netloc}-{path}" if path else parts.netloc).lower()
    for old, new in ((" ", "_"), ("+", "_plus_"), ("*", "wildcard_"), (":", "-"), ("..", "")):
        key = key.replace(old, new)
    return re.sub(r"[^a-z0-9_@.-]", "", key)


def auto_https(mode: str, fallback: bool) -> str:
    """What Caddy does about certificates by itself; nothing listens on port 80 in any case."""
    if mode == "origin":
        # A name that the certificate lacks must not be asked of a public authority behind one's back.
        return "disable_redirects disable_certs"
    # With a fallback certificate loaded Caddy would no longer try to get its own.
    return "disable_redirects ignore_loaded_certs" if fallback else "disable_redirects"
