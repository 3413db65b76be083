# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Cloudflare for the networks of its edge, and believe only an answer that can be true.

Private to the collection, used on the controller. The list decides who may reach the web server: one network too many
is a hole, one too few is an outage, so an answer that changes too much is left to a person.
"""

from __future__ import annotations

import http.client
import ipaddress
import itertools
import json
import time
import urllib.error
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.urls import open_url

from ._networks import Network

URL = "https://api.cloudflare.com/client/v4/ips"
PAUSES = (2.0, 5.0)  # seconds before the second and the third try
TIMEOUT = 20.0  # seconds without a byte before a try counts as failed
LIMIT = 1 << 20  # bytes; the real answer has about 700
WIDEST = {4: 8, 6: 24}  # the shortest prefix that is believed; the real ones are /13 and /29
MOST_NEW = 10  # networks that one change may add; in ten years it never added more than two


class RangesError(Exception):
    """The list was left as it is; the message names the reason and the way out."""


class _BrokenError(Exception):
    """One try failed in a way that may pass."""


def fetch(url: str = URL, pauses: Sequence[float] = PAUSES) -> list[str]:
    """Return the networks that `url` lists, canonical and sorted, IPv4 first.

    Tries again after each of `pauses` (seconds) where the failure may pass. Raises RangesError.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise RangesError(f"{url} is not https, so anybody on the way could answer; write an https URL")
    reason = ""
    for pause in (0.0, *pauses):
        time.sleep(pause)
        try:
            return parse(_read(url), url)
        except _BrokenError as broken:
            reason = str(broken)
    raise RangesError(
        f"{url} gave no list of networks in {len(pauses) + 1} tries ({reason}); "
        "the old list stays in use, try again later"
    )


def _read(url: str) -> bytes:
    """Return the body of one answer."""
    try:
        with open_url(url, timeout=TIMEOUT, follow_redirects="none", http_agent="sapflux.hosting") as answer:
            body: bytes = answer.read(LIMIT + 1)
            announced = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        # Asking again does not help with "not found", but may with "too many" and a server's own failures.
        if error.code < 500 and error.code not in (408, 429):
            raise RangesError(f"{url} answers {error.code} {error.reason}; correct the URL") from error
        raise _BrokenError(f"it answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _BrokenError(str(error) or type(error).__name__) from error
    if len(body) > LIMIT:
        raise RangesError(f"{url} answers with more than {LIMIT} bytes, which is no list of networks; correct the URL")
    # A connection that is cut looks like the end of the body: only the length tells.
    if announced is not None and len(body) != int(announced):
        raise _BrokenError(f"it stopped after {len(body)} of {announced} bytes")
    return body


def parse(body: bytes, url: str = URL) -> list[str]:
    """Return the networks of an answer of Cloudflare's API, canonical and sorted, IPv4 first. Raises RangesError."""
    try:
        answer = json.loads(body)
        if answer["success"] is not True:
            raise RangesError(f"{url} reports a failure: {answer.get('errors')}; the old list stays in use")
        written = [*answer["result"]["ipv4_cidrs"], *answer["result"]["ipv6_cidrs"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        start = body[:60].decode(errors="replace")
        raise RangesError(f"{url} answers with something else than a list of networks: {start!r}") from error
    nets: list[Network] = []
    for cidr in written:
        try:
            nets.append(ipaddress.ip_network(cidr))
        except (ValueError, TypeError) as error:
            raise RangesError(f"{url} lists {cidr!r}, which is no network; the old list stays in use") from error
    return [str(net) for net in sorted(nets, key=_order)]


def _order(net: Network) -> tuple[int, int, int]:
    return net.version, int(net.network_address), net.prefixlen


def _touch(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def implausible(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return a sentence for each reason not to believe that `old` has become `new`, an empty list where it can be."""
    before = [ipaddress.ip_network(cidr) for cidr in old]
    after = [ipaddress.ip_network(cidr) for cidr in new]
    reasons = []
    for version, widest in WIDEST.items():
        had = [net for net in before if net.version == version]
        has = [net for net in after if net.version == version]
        kept = len(set(had) & set(has))
        if not has:
            reasons.append(f"it has no IPv{version} network")
        elif kept * 2 < len(had):
            reasons.append(f"it keeps {kept} of {len(had)} IPv{version} networks")
        reasons.extend(
            f"{net} is wider than /{widest}, the widest that Cloudflare can be thought to have"
            for net in has
            if net.prefixlen < widest
        )
    reasons.extend(f"{net} is not a network of the public internet" for net in after if not net.is_global)
    ordered = sorted(after, key=_order)
    reasons.extend(f"{one} and {other} overlap" for one, other in itertools.pairwise(ordered) if _touch(one, other))
    added = len(set(after) - set(before))
    if added > MOST_NEW:
        reasons.append(f"it adds {added} networks at once")
    return reasons


def render(variable: str, cidrs: Sequence[str], source: str) -> str:
    """Return the text of the variables file that holds the list."""
    listed = "".join(f'  - "{cidr}"\n' for cidr in cidrs)
    return (
        f"---\n# The networks of Cloudflare's edge, as {source} listed them; written by\n"
        "# sapflux.hosting.cloudflare_ip_ranges, which the playbook refresh_networks runs. It is overwritten.\n"
        f"{variable}:\n{listed}"
    )


def stored(text: str, variable: str, path: str) -> list[str]:
    """Return the list that a variables file holds. Raises RangesError where it is not one that `render` wrote."""
    import yaml  # here, because a module's Python may be without it

    try:
        content: Any = yaml.safe_load(text)
        cidrs = [str(ipaddress.ip_network(cidr)) for cidr in content[variable]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RangesError(
            f"{path} does not hold a list of networks in {variable}, so it is somebody else's; name another path, or "
            "remove it"
        ) from error
    if set(content) != {variable}:
        raise RangesError(f"{path} holds more than {variable}, which would be lost; name another path")
    return cidrs
