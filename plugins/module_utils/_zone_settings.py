# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a zone, what each may be, and what YAML makes of it (private to this collection)."""

from __future__ import annotations

import difflib
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError

SWITCHES = frozenset({
    *("0rtt", "always_online", "always_use_https", "automatic_https_rewrites", "brotli", "browser_check"),
    *("content_converter", "development_mode", "early_hints", "email_obfuscation", "hotlink_protection", "http2"),
    *("http3", "ip_geolocation", "ipv6", "mirage", "opportunistic_encryption", "opportunistic_onion"),
    *("orange_to_orange", "origin_error_page_pass_thru", "pre_render", "prefetch_preload", "privacy_pass"),
    *("redirects_for_ai_training", "replace_insecure_js", "response_buffering", "rocket_loader"),
    *("search_for_agents", "server_side_exclude", "sha1_support", "sort_query_string_for_cache", "tls_1_2_only"),
    *("tls_client_auth", "true_client_ip_header", "waf", "webmcp_enabled", "webp", "websockets"),
})  # fmt: skip
WORDS: Dict[str, Tuple[str, ...]] = {
    "cache_level": ("aggressive", "basic", "simplified"),
    "cname_flattening": ("flatten_at_root", "flatten_all"),
    "h2_prioritization": ("on", "off", "custom"),
    "image_resizing": ("on", "off", "open"),
    "min_tls_version": ("1.0", "1.1", "1.2", "1.3"),
    "origin_max_http_version": ("1", "2"),
    "polish": ("off", "lossless", "lossy"),
    "pseudo_ipv4": ("off", "add_header", "overwrite_header"),
    "security_level": ("off", "essentially_off", "low", "medium", "high", "under_attack"),
    "ssl": ("off", "flexible", "full", "strict"),
    "tls_1_3": ("on", "off", "zrt"),
    "transformations": ("on", "off", "open"),
}
NUMBERS = frozenset({
    *("browser_cache_ttl", "challenge_ttl", "edge_cache_ttl", "max_upload", "origin_h2_max_streams"),
    "proxy_read_timeout",
})  # fmt: skip
OBJECTS = frozenset({"aegis", "automatic_platform_optimization", "nel", "security_header"})
LISTS = frozenset({"ciphers"})
TEXTS = frozenset({"transformations_allowed_origins", "webmcp_packs"})
FLAGS = frozenset({"ssl_recommender"})
"""Settings that are sent as ``enabled``, not as ``value``."""
KNOWN = SWITCHES | frozenset(WORDS) | NUMBERS | OBJECTS | LISTS | TEXTS | FLAGS
FIRST = ("ssl",)
"""Settings that others need to be set before."""


def parse(given: Mapping[str, Any], *, unknown: bool = False) -> Dict[str, Any]:
    """Settings as the API takes them, in the order in which they are set.

    YAML reads ``on`` as true and ``1.2`` as a number. Raises :class:`CloudflareError` with everything that is wrong.
    """
    problems: List[str] = []
    wanted: Dict[str, Any] = {}
    for name in sorted(given, key=lambda each: (each not in FIRST, each)):
        try:
            wanted[name] = value_of(name, given[name], unknown)
        except CloudflareError as error:
            problems.append(str(error))
    if problems:
        raise CloudflareError("; ".join(problems))
    return wanted


def value_of(name: str, value: Any, unknown: bool = False) -> Any:
    """One setting as the API takes it."""
    if name not in KNOWN:
        if unknown:
            return value
        near = difflib.get_close_matches(name, KNOWN, 1)
        hint = f"did you mean {near[0]}?" if near else "set allow_unknown to true where Cloudflare has a new one"
        raise CloudflareError(f"{name} is no setting of a zone; {hint}")
    word = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    if name in SWITCHES or name in WORDS:
        choices = WORDS.get(name, ("on", "off"))
        if word not in choices:
            raise CloudflareError(f"{name} is {word}, but may be {', '.join(choices)}")
        return word
    if name in NUMBERS:
        if isinstance(value, bool) or not word.lstrip("-").isdigit():
            raise CloudflareError(f"{name} is {word}, but is a number")
        return int(word)
    kinds: Tuple[Tuple[Any, type, str], ...] = (
        (OBJECTS, dict, "a mapping"),
        (LISTS, list, "a list"),
        (FLAGS, bool, "true or false"),
    )
    for names, kind, said in kinds:
        if name in names and not isinstance(value, kind):
            raise CloudflareError(f"{name} is {word}, but is {said}")
    return value


def merged(have: Any, want: Any) -> Any:
    """A wish for a mapping over what is there: keys it does not name stay as they are."""
    if not isinstance(want, dict) or not isinstance(have, dict):
        return want
    return {**have, **{key: merged(have.get(key), value) for key, value in want.items()}}
