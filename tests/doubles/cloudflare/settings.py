"""Settings of a zone: what the plan does not allow says so in ``editable``."""

from __future__ import annotations

import copy
from typing import Any

from tests.doubles.cloudflare.core import PREFIX, Cloudflare, refuse
from tests.doubles.cloudflare.zones import zone_of
from tests.doubles.web import Request, Routes

routes = Routes()

HOME = f"{PREFIX}/zones/{{zone}}/settings"
ON_OFF = ("on", "off")
CHOICES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        (
            *("0rtt", "always_online", "always_use_https", "automatic_https_rewrites", "brotli", "browser_check"),
            *("development_mode", "early_hints", "email_obfuscation", "hotlink_protection", "http2", "http3"),
            *("ip_geolocation", "ipv6", "opportunistic_encryption", "opportunistic_onion", "rocket_loader"),
            *("tls_client_auth", "websockets", "mirage", "webp", "true_client_ip_header", "response_buffering"),
            *("sort_query_string_for_cache", "prefetch_preload", "origin_error_page_pass_thru"),
        ),
        ON_OFF,
    ),
    "ssl": ("off", "flexible", "full", "strict"),
    "min_tls_version": ("1.0", "1.1", "1.2", "1.3"),
    "tls_1_3": ("on", "off", "zrt"),
    "security_level": ("off", "essentially_off", "low", "medium", "high", "under_attack"),
    "cache_level": ("aggressive", "basic", "simplified"),
    "polish": ("off", "lossless", "lossy"),
    "pseudo_ipv4": ("off", "add_header", "overwrite_header"),
}
PAID = {
    *("mirage", "webp", "true_client_ip_header", "response_buffering", "sort_query_string_for_cache", "polish"),
    *("prefetch_preload", "origin_error_page_pass_thru", "proxy_read_timeout"),
}
STRICT_TRANSPORT = {"enabled": False, "max_age": 0, "include_subdomains": False, "preload": False, "nosniff": False}
DEFAULTS: dict[str, Any] = {
    **{name: "off" if "off" in words else words[0] for name, words in CHOICES.items()},
    "ssl": "full",
    "browser_cache_ttl": 14400,
    "challenge_ttl": 1800,
    "max_upload": 100,
    "proxy_read_timeout": 100,
    "ciphers": [],
    "security_header": {"strict_transport_security": STRICT_TRANSPORT},
    "nel": {"enabled": True},
}


class Settings:
    """The values of each zone."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Any]] = {}


def values_of(cloud: Cloudflare, zone: str) -> dict[str, Any]:
    """The values of a zone."""
    return cloud.part(Settings).of.setdefault(zone, copy.deepcopy(DEFAULTS))


def _shown(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    zone, name = zone_of(cloud, request), request.params["setting"]
    free = zone["plan"]["legacy_id"] == "free"
    if name == "ssl_recommender":
        return {"id": name, "enabled": values_of(cloud, zone["id"]).get(name, False), "editable": True}
    if name not in DEFAULTS:
        refuse(400, 1006, f"Undefined zone setting: {name}")
    value = values_of(cloud, zone["id"])[name]
    return {"id": name, "value": value, "editable": not (free and name in PAID), "modified_on": cloud.now()}


@routes.on("GET", f"{HOME}/{{setting}}", needs="Zone Settings Read")
def read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return _shown(cloud, request)


@routes.on("PATCH", f"{HOME}/{{setting}}", needs="Zone Settings Write")
def change(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    shown, body, name = _shown(cloud, request), request.body or {}, request.params["setting"]
    values = values_of(cloud, request.params["zone"])
    if name == "ssl_recommender":
        values[name] = bool(body["enabled"])
        return _shown(cloud, request)
    if "value" not in body or type(body["value"]) is not type(shown["value"]):
        refuse(400, 1007, f"Invalid value for zone setting {name}")
    if body["value"] not in CHOICES.get(name, (body["value"],)):
        refuse(400, 1007, f"Invalid value for zone setting {name}")
    free = zone_of(cloud, request)["plan"]["legacy_id"] == "free"
    if not shown["editable"] or (free and name == "max_upload" and body["value"] > 100):
        refuse(403, 1015, f"Not allowed to edit setting for {name}")
    values[name] = body["value"]
    return _shown(cloud, request)
