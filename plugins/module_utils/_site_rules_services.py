# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the document ``site`` about services, memory and production (private to this collection)."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_formats as fmt
from ansible_collections.sapflux.hosting.plugins.module_utils._clerk import clerk_problems
from ansible_collections.sapflux.hosting.plugins.module_utils._site_rules import FORMATS, Add, Document, choose, select
from ansible_collections.sapflux.hosting.plugins.module_utils._site_wiring import covers

# What Debian, sshd, Docker, Caddy and WAL-G use on an idle host, with room for a backup. In MiB.
SYSTEM_MB = 700
POSTGRES_SHARE = 8
POSTGRES_MOST_MB = 1024

_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_KEY = re.compile(r"(?:^|_)(?:SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|KEY)$", re.IGNORECASE)
_UNREACHABLE_DOMAINS = ("test", "local", "localhost", "invalid", "internal", "lan")
_TEST_KEY = re.compile(r"\b[ps]k_test_")


def postgres_share_mb(memory_mb: int) -> int:
    """MiB that PostgreSQL takes on a host of ``memory_mb`` MiB it shares with containers: an eighth, at most 1 GiB."""
    return min(memory_mb // POSTGRES_SHARE, POSTGRES_MOST_MB)


def secret_looking(key: str) -> bool:
    """Whether an environment variable is a secret by its name. What is public or publishable goes into browsers."""
    return bool(_SECRET_KEY.search(key)) and not re.search(r"^PUBLIC_|(?:^|_)PUBLISHABLE_KEY$", key, re.IGNORECASE)


def hosts(document: Document, add: Add) -> None:
    """Host names are under the domain; databases exist."""
    domain = document.get("domain")
    for path, hostname in select(document, "services[].hostname"):
        if domain and hostname != domain and not hostname.endswith(f".{domain}"):
            add(path, hostname, f"is not under {domain}", f"write something like {hostname.partition('.')[0]}.{domain}")
    names = [name for _path, name in select(document, "postgres.databases[].name")]
    for path, name in select(document, "services[].database"):
        if name not in names:
            add(path, name, "is not one of postgres.databases", choose(name, names, "add it there"))


HOOKS = ["before_pull", "before_migrate", "before_switch", "after_switch", "on_failure"]
"""Moments of a deploy at which task files may run."""


def deploys(document: Document, add: Add) -> None:
    """Hooks are known and absolute; a query that gates the end of a release has a database to be asked in."""
    for path, hooks in select(document, "deploy.hooks"):
        for name, file in hooks.items():
            if name not in HOOKS:
                add(f"{path}.{name}", None, "is no hook", choose(name, HOOKS, f"write one of {', '.join(HOOKS)}"))
            elif not isinstance(file, str) or not file.startswith("/"):
                add(
                    f"{path}.{name}",
                    file,
                    "is not an absolute path",
                    'write "{{ inventory_dir }}/hooks/' + f'{name}.yml"',
                )
    for path, service in select(document, "services[]"):
        if (service.get("drain") or {}).get("sql") and not service.get("database"):
            add(f"{path}.drain.sql", None, "has no database to be asked in", f"name it in {path}.database")


def environment(document: Document, add: Add) -> None:
    """Names and values of variables; secrets are in ``secrets``, everything else in ``env``."""
    for path, service in select(document, "services[]"):
        env, secrets = service.get("env") or {}, service.get("secrets") or {}
        for section, values in (("env", env), ("secrets", secrets)):
            for key, value in values.items():
                below = f"{path}.{section}.{key}"
                if not _ENV_KEY.fullmatch(key):
                    add(below, None, "is not the name of an environment variable", "write letters, digits and _")
                elif key == "SECRETS_FILE":
                    add(below, None, "is set by the deploy", f"leave it out; {path}.secrets_path decides it")
                verdict = fmt.scalar(value)
                if verdict:
                    add(below, value, *verdict)
                elif section == "env":
                    _env_value(below, key, str(value), add)
                elif not _secrets.references(str(value)) and not _secrets.malformed(str(value)):
                    hint = "a plain value belongs in env, a secret in the secret store"
                    add(below, None, "holds no ${NAME}", hint)
        for key in sorted(env.keys() & secrets.keys()):
            add(f"{path}.secrets.{key}", None, f"is in {path}.env as well", "remove one of them")


def _env_value(path: str, key: str, value: str, add: Add) -> None:
    if "${" in value:
        add(path, None, "holds a reference", f"it belongs in {path.replace('.env.', '.secrets.')}")
    elif secret_looking(key) and value:
        hint = f'put the value into the secret store and write {key}: "${{{key.upper()}}}" in secrets'
        add(path, None, "looks like a literal secret", hint)


def routes(document: Document, add: Add) -> None:
    """Every route can be reached; in production nothing below ``/admin`` and no migration is public."""
    for path, service in select(document, "services[]"):
        usable = [route if isinstance(route, dict) else {} for route in service.get("routes") or []]
        earlier: list[str] = []
        for index, route in enumerate(usable):
            pattern = route.get("path")
            if not isinstance(pattern, str) or fmt.route_path(pattern):
                continue
            probe = pattern.removesuffix("/*") + "/x" if pattern.endswith("/*") else pattern
            above = next((other for other in earlier if covers(other, probe)), None)
            if above:
                add(
                    f"{path}.routes[{index}].path",
                    pattern,
                    f"is never reached, because {above} above matches first",
                    "move it up or remove it",
                )
            earlier.append(pattern)
        if document.get("environment") == "production":
            _exposed(path, service, usable, add)


def _exposed(path: str, service: dict[str, Any], usable: list[dict[str, Any]], add: Add) -> None:
    """Report the first public route that an administrative path would take."""
    samples = ["/admin", "/admin/x"] + ([service["migrate"]] if service.get("migrate") else [])
    # An exact public route below /admin is exposed too, whatever the general route says.
    samples += [
        route["path"] for route in usable if route.get("path") and covers("/admin/*", route["path"].removesuffix("/*"))
    ]
    reported: set[int] = set()
    for sample in samples:
        target = sample.removesuffix("/*") + "/x" if sample.endswith("/*") else sample
        for index, route in enumerate(usable):
            if not route.get("path") or not covers(route["path"], target):
                continue
            if route.get("visibility") == "public" and index not in reported:
                reported.add(index)
                shown = "/admin/*" if covers("/admin/*", target) else target
                hint = f'put {{path: "{shown}", visibility: never}} above it'
                add(f"{path}.routes[{index}].path", route["path"], f"makes {shown} public in production", hint)
            break


def memory(document: Document, add: Add) -> None:
    """Limits of all services, the system and PostgreSQL fit into the plan."""
    total = (document.get("host") or {}).get("memory_mb")
    limits = [limit for _path, limit in select(document, "services[].memory_mb")]
    if not isinstance(total, int) or FORMATS["host.memory_mb"](total) or not limits:
        return
    postgres = postgres_share_mb(total)
    needed = sum(limits) + SYSTEM_MB + postgres
    if needed > total:
        arithmetic = (
            f"{' + '.join(map(str, limits))} (services) + {SYSTEM_MB} (system) + {postgres} (PostgreSQL) = {needed} MiB"
        )
        free = total - SYSTEM_MB - postgres
        hint = (
            f"lower services[].memory_mb to {free} in all or choose a larger plan"
            if free > 0
            else "choose a larger plan"
        )
        add("site.host.memory_mb", total, f"is less than {arithmetic}", hint)


def production(document: Document, add: Add) -> None:
    """What is right on a laptop and wrong on a server other people use."""
    if document.get("environment") != "production":
        return
    for path, domain in select(document, "domain"):
        if domain.rpartition(".")[2] in _UNREACHABLE_DOMAINS:
            add(path, domain, "is a domain nobody else can reach", "write the domain you own, or environment: local")
    for path, endpoint in select(document, "backup.endpoint"):
        if endpoint.startswith("http://"):
            add(path, endpoint, "sends backups in clear", f"write https://{endpoint.removeprefix('http://')}")
    for path, env in select(document, "services[].env"):
        for key, value in env.items():
            if isinstance(value, str) and _TEST_KEY.search(value):
                add(
                    f"{path}.{key}",
                    None,
                    "holds a Clerk key of a development instance",
                    "write the key that begins with pk_live_",
                )


def production_secrets(document: Document, secrets: dict[str, str], add: Add) -> None:
    """Secrets of a development instance in production, by the value behind the name. Messages hold names only."""
    if document.get("environment") != "production":
        return
    for path, text in _secrets.texts(document.get("services") or [], "site.services"):
        for reference in _secrets.references(text):
            if _TEST_KEY.search(secrets.get(reference.name, "")):
                add(
                    path,
                    None,
                    f"${{{reference.name}}} is a Clerk key of a development instance",
                    "store the key of the production instance",
                )


def doppler(document: Document, add: Add) -> None:
    """A service that takes its secrets from Doppler has a token for it, and the host has the program."""
    store = document.get("secrets") or {}
    if store.get("provider") == "file" and not store.get("file"):
        add("site.secrets.file", None, "is missing", "write its absolute path, or provider: doppler")
    for path, source in select(document, "services[].doppler"):
        if source.get("only") and not source.get("token"):
            hint = "make a service token of the config, put it into the secret store and write ${NAME}"
            add(f"{path}.token", None, "is missing, and only names secrets of Doppler", hint)
    pin = (document.get("artifacts") or {}).get("doppler") or {}
    if not any(pin.values()) and any(True for _found in select(document, "services[].doppler.token")):
        add(
            "site.artifacts.doppler",
            None,
            "is missing, and a service takes its secrets from Doppler",
            "pin a release of its command line: version, url and sha256",
        )


def clerk(document: Document, add: Add) -> None:
    """Keys of Clerk in ``env``: keys at all, of the right instance, of the document's domain."""
    _clerk(document, {}, add)


def clerk_secrets(document: Document, secrets: dict[str, str], add: Add) -> None:
    """The same for keys behind references. Messages hold names only."""
    _clerk(document, secrets, add)


def _clerk(document: Document, secrets: dict[str, str], add: Add) -> None:
    environment, domain = document.get("environment"), document.get("domain")
    if not environment or not domain:
        return
    for path, service in select(document, "services[]"):
        env = {key: value for key, value in (service.get("env") or {}).items() if isinstance(value, str)}
        behind = {
            key: _secrets.resolve(value, secrets)
            for key, value in (service.get("secrets") or {}).items()
            if isinstance(value, str) and all(found.name in secrets for found in _secrets.references(value))
        }
        known = {**env, **behind} if secrets else env
        for problem in clerk_problems(known, environment, domain):
            section = "secrets" if problem.name in behind else "env"
            # What the document alone tells has been told; that a test key is none for production, by another rule.
            if (secrets and section == "env") or (problem.kind == "instance" and environment == "production"):
                continue
            add(f"{path}.{section}.{problem.name}", None, problem.reason, problem.hint)
