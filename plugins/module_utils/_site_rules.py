# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the document ``site`` that concern one value each or names that must exist (private to this collection)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_formats as fmt
from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import Problem, nearest, show

Document = dict[str, Any]
Add = Callable[[str, Any, str, str], None]
"""``add(path, value, reason, suggestion)`` reports one problem."""

SERVICE_NAME = fmt.matches(r"[a-z](?:[a-z0-9-]{0,29}[a-z0-9])?", "a name in lower case letters, digits and -", "api")

FORMATS: dict[str, Callable[[Any], fmt.Verdict]] = {
    "name": fmt.matches(r"[a-z](?:[a-z0-9-]{0,29}[a-z0-9])", "2 to 31 lower case letters, digits and -", "sapflux"),
    "domain": fmt.domain,
    "admin.user": fmt.user_name,
    "admin.authorized_keys[]": fmt.authorized_key,
    "admin.email": fmt.matches(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+", "an e-mail address", "me@example.org"),
    "host.timezone": fmt.timezone,
    "host.memory_mb": fmt.between(1024, 1048576, "MiB"),
    "host.swap_mb": fmt.between(0, 65536, "MiB"),
    "host.zram_mb": fmt.between(0, 65536, "MiB"),
    "host.tmp_mb": fmt.between(64, 16384, "MiB"),
    "host.journal_mb": fmt.between(50, 65536, "MiB"),
    "host.updates.reboot_time": fmt.time_of_day,
    "network.ssh_cidrs[]": fmt.cidr,
    "network.break_glass_cidrs[]": fmt.cidr,
    "network.https_cidrs[]": fmt.edge_cidr,
    "tailscale.login_server": fmt.url("https", "http"),
    "tailscale.domain": fmt.domain,
    "tailscale.tags[]": fmt.tag,
    "tailscale.version": fmt.matches(r"[0-9][0-9A-Za-z.+~-]{0,40}", "a version", '"1.102.3"'),
    "tailscale.repository.url": fmt.url("https", "http"),
    "tailscale.repository.key_sha256": fmt.sha256,
    "tailscale.confirm_seconds": fmt.between(20, 3600, "seconds"),
    "tailscale.rescue_seconds": fmt.between(0, 86400, "seconds"),
    "docker.version": fmt.matches(r"[0-9][0-9A-Za-z.:+~*-]{0,60}", "a version", '"26.1.*"'),
    "monitoring.healthchecks.ping_url": fmt.url("https", "http"),
    "monitoring.healthchecks.api_url": fmt.url("https", "http"),
    "monitoring.kuma.hostname": fmt.domain,
    "monitoring.kuma.memory_mb": fmt.between(128, 4096, "MiB"),
    "monitoring.kuma.keep_days": fmt.between(1, 3650, "days"),
    "docker.prune_days": fmt.between(1, 3650, "days"),
    "docker.insecure_registries[]": fmt.matches(
        r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?", "a registry as host:port", "10.0.0.5:5000"
    ),
    "postgres.version": fmt.postgres_version,
    "postgres.listen[]": fmt.address,
    "postgres.networks[]": fmt.cidr,
    "postgres.archive_timeout": fmt.between(10, 75, "seconds"),
    "postgres.databases[].name": fmt.identifier,
    "postgres.databases[].owner": fmt.identifier,
    "postgres.databases[].extensions[]": fmt.matches(r"[a-z][a-z0-9_-]{0,62}", "the name of an extension", "postgis"),
    "postgres.users[].name": fmt.identifier,
    "postgres.users[].memberof[]": fmt.identifier,
    "postgres.users[].connection_limit": fmt.between(-1, 1000),
    "backup.endpoint": fmt.url("https", "http"),
    "backup.region": fmt.matches(r"[a-z0-9-]{2,32}", "a region", "us-east-1 or auto"),
    "backup.bucket": fmt.matches(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]", "the name of a bucket", "sapflux-backup"),
    "backup.access_key_id": fmt.matches(r"\S+", "an access key", "${BACKUP_ACCESS_KEY_ID}"),
    "backup.encryption_fingerprint": fmt.matches(r"[0-9a-f]{16}", "the fingerprint of a key", "2a8abfa8cb990629"),
    "backup.drill.schedule": fmt.calendar,
    "backup.drill.floors[]": fmt.matches(
        r"[a-z_][a-z0-9_]*:[A-Za-z0-9_.\"]+:[0-9]+", "database:table:rows", "app:observations:1"
    ),
    "backup.drill.probes[]": fmt.matches(
        r"[a-z_][a-z0-9_]*:\S.*", "database:SQL", '"app:SELECT count(*) > 0 FROM observations"'
    ),
    "backup.dumps.schedule": fmt.calendar,
    "backup.dumps.keep": fmt.between(1, 1000),
    "backup.generation": fmt.between(1, 1000000),
    "backup.schedule": fmt.time_of_day,
    "backup.keep_full": fmt.between(2, 1000),
    "backup.keep_days": fmt.between(1, 3650, "days"),
    "tls.hsts_max_age": fmt.between(0, 63072000, "seconds"),
    "tls.zone": fmt.domain,
    "tls.ca": fmt.url("https"),
    "tls.profile": fmt.matches(r"[a-z0-9-]{1,40}", "a profile", "shortlived"),
    "tls.resolvers[]": fmt.matches(r"[0-9A-Za-z.:-]{1,80}", "a DNS server", "1.1.1.1"),
    "services[].name": SERVICE_NAME,
    "services[].image": fmt.image,
    "services[].port": fmt.between(1, 65535),
    "services[].hostname": fmt.domain,
    "services[].routes[].path": fmt.route_path,
    "services[].health.path": fmt.url_path,
    "services[].health.timeout": fmt.between(1, 600, "seconds"),
    "services[].ready": fmt.url_path,
    "services[].migrate": fmt.url_path,
    "services[].drain.timeout": fmt.between(0, 86400, "seconds"),
    "services[].drain.grace": fmt.between(0, 3600, "seconds"),
    "services[].assets[]": fmt.container_path,
    "deploy.keep_releases": fmt.between(2, 100),
    "deploy.watch_seconds": fmt.between(0, 300, "seconds"),
    "services[].memory_mb": fmt.between(16, 1048576, "MiB"),
    "services[].user": fmt.numeric_user,
    "services[].tmpfs[]": fmt.tmpfs,
    "services[].secrets_path": fmt.container_path,
    "services[].doppler.only[]": fmt.matches(r"[A-Z_][A-Z0-9_]*", "the name of a secret of Doppler", "DATABASE_URL"),
    "services[].doppler.api_host": fmt.url("https", "http"),
    "services[].max_body_mb": fmt.between(1, 10240, "MiB"),
    "secrets.file": fmt.absolute_path,
}
FORMATS.update(
    (f"artifacts.{program}.{key}", check)
    for program in ("caddy", "walg", "doppler")
    for key, check in (
        ("version", fmt.matches(r"[0-9][0-9A-Za-z.+~-]{0,40}", "a version", '"2.11.9"')),
        ("url", fmt.url("https", "http")),
        ("file", fmt.absolute_path),
        ("sha256", fmt.sha256),
    )
)

MUST_BE_REFERENCES = {
    "tls.token": "CLOUDFLARE_DNS_TOKEN",
    "tls.origin_token": "CLOUDFLARE_ORIGIN_TOKEN",
    "tls.origin_pulls.private_key": "ORIGIN_PULLS_PRIVATE_KEY",
    "tailscale.auth_key": "TAILSCALE_AUTH_KEY",
    "hetzner.token": "HCLOUD_TOKEN",
    "cloudflare.api_token": "CLOUDFLARE_API_TOKEN",
    "cloudflare.origin.private_key": "EDGE_PRIVATE_KEY",
    "cloudflare.buckets[].secret_access_key": "APP_S3_SECRET_ACCESS_KEY",
    "cloudflare.tokens[].value": "CADDY_CLOUDFLARE_TOKEN",
    "cloudflare.doppler.token": "DOPPLER_TOKEN",
    "postgres.users[].password": "APP_DB_PASSWORD",
    "backup.secret_access_key": "BACKUP_SECRET_ACCESS_KEY",
    "backup.encryption_key": "BACKUP_ENCRYPTION_KEY",
    "backup.read_secret_access_key": "BACKUP_READ_SECRET_ACCESS_KEY",
    "monitoring.healthchecks.ping_key": "HEALTHCHECKS_PING_KEY",
    "monitoring.healthchecks.api_key": "HEALTHCHECKS_API_KEY",
    "monitoring.kuma.password": "KUMA_PASSWORD",
    "services[].doppler.token": "API_DOPPLER_TOKEN",
}
"""Keys that hold no literal, with a name to suggest."""

RESERVED_DATABASES = ("postgres", "template0", "template1")
RESERVED_ROLES = ("postgres", "public", "none", "current_user", "session_user", "current_role", "user")
# Roles of PostgreSQL that let their members leave the database: files, programs, other sessions.
DANGEROUS_ROLES = (
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_signal_backend",
    "pg_checkpoint",
)
FORBIDDEN_SETTINGS = {
    "archive_mode": "postgres.archive_timeout is the key for archiving",
    "archive_command": "archiving is always on, through the wrapper",
    "archive_library": "archiving is always on, through the wrapper",
    "archive_cleanup_command": "backup.keep_days decides what is kept",
    "primary_conninfo": "there is one server",
    "recovery_end_command": "a restore sets it itself",
    "archive_timeout": "write postgres.archive_timeout",
    "restore_command": "a restore sets it itself",
    "ssl": "the role speaks TLS where it listens to the network",
    "ssl_cert_file": "the role makes the certificate",
    "ssl_key_file": "the role makes the certificate's key",
    "data_directory": "the cluster decides where it lives",
    "hba_file": "the rules come from postgres.users",
    "ident_file": "the rules come from postgres.users",
    "config_file": "the cluster decides where it lives",
    "external_pid_file": "the cluster decides where it lives",
    "listen_addresses": "services use the socket",
    "port": "services use the socket",
    "unix_socket_directories": "services mount /run/postgresql",
    "password_encryption": "passwords are always scram-sha-256",
    "wal_level": "the archive needs replica",
    "fsync": "switching it off loses the database at the next power cut",
    "full_page_writes": "switching it off loses the database at the next power cut",
    "include": "there is one file",
    "include_if_exists": "there is one file",
    "include_dir": "there is one file",
}


def select(node: Any, pattern: str, path: str = "site") -> Iterator[tuple[str, Any]]:
    """Every (path, value) that ``pattern`` (``a.b[].c``) names and that is there."""
    if not pattern:
        if node is not None:
            yield path, node
        return
    step, _dot, rest = pattern.partition(".")
    key, many = step.removesuffix("[]"), step.endswith("[]")
    value = node.get(key) if isinstance(node, dict) else None
    if value is None:
        return
    if many:
        for index, item in enumerate(value):
            yield from select(item, rest, f"{path}.{key}[{index}]")
    else:
        yield from select(value, rest, f"{path}.{key}")


def formats(document: Document, add: Add) -> None:
    """Single values: syntax and ranges."""
    for pattern, check in FORMATS.items():
        for path, value in select(document, pattern):
            verdict = check(value)
            if verdict:
                add(path, value, *verdict)


def unique(document: Document, add: Add) -> None:
    """Names that must not occur twice, and lists that must not be empty."""
    for pattern in (
        "services[].name",
        "services[].hostname",
        "postgres.databases[].name",
        "postgres.users[].name",
        "admin.authorized_keys[]",
        "network.ssh_cidrs[]",
        "network.break_glass_cidrs[]",
        "network.https_cidrs[]",
        "tailscale.tags[]",
        "hetzner.servers[].name",
        "cloudflare.buckets[].name",
        "cloudflare.tokens[].name",
        "cloudflare.dns.addresses[]",
    ):
        seen: dict[Any, str] = {}
        for path, value in select(document, pattern):
            if value in seen:
                add(path, value, f"is there twice, first at {seen[value]}", "rename or remove one of them")
            seen.setdefault(value, path)
    for pattern, hint in (
        ("admin.authorized_keys", "write at least one line of a .pub file, or nobody can log in"),
        ("network.ssh_cidrs", 'write at least one network, or nobody can log in; everybody is [0.0.0.0/0, "::/0"]'),
    ):
        for path, value in select(document, pattern):
            if value == []:
                add(path, value, "is empty", hint)


def artifacts(document: Document, add: Add) -> None:
    """Every program comes from exactly one place."""
    for path, program in select(document, "artifacts"):
        for name, pin in program.items():
            # One that may be left out is there all the same, and empty.
            if not isinstance(pin, dict) or not any(pin.values()):
                continue
            given = [key for key in ("url", "file") if pin.get(key) is not None]
            if len(given) != 1:
                found = "has both url and file" if given else "has neither url nor file"
                add(f"{path}.{name}", None, found, "write exactly one of them")


def databases(document: Document, add: Add) -> None:
    """Reserved names, owners, members, and settings that other keys decide."""
    for path, name in select(document, "postgres.databases[].name"):
        if name in RESERVED_DATABASES:
            add(path, name, "is a database of PostgreSQL itself", "choose another name")
    owners = [owner for _path, owner in select(document, "postgres.databases[].owner")]
    names = [name for _path, name in select(document, "postgres.databases[].name")]
    users = [name for _path, name in select(document, "postgres.users[].name")]
    for pattern in ("postgres.databases[].owner", "postgres.users[].name"):
        for path, name in select(document, pattern):
            if name in RESERVED_ROLES or name.startswith("pg_"):
                add(path, name, "is a role of PostgreSQL itself", "choose another name")
            elif pattern.endswith("owner") and name in users:
                add(
                    path,
                    name,
                    "logs in, and an owner must not",
                    f"write owner: {name}_owner and give the user memberof: [{name}_owner]",
                )
    for path, name in select(document, "postgres.users[].database"):
        if name not in names:
            add(path, name, "is not one of postgres.databases", choose(name, names, "add it there"))
    for path, name in select(document, "postgres.users[].memberof[]"):
        if name in DANGEROUS_ROLES or name == "postgres":
            add(path, name, "lets its members leave their database", "leave it out")
        elif name not in owners and not name.startswith("pg_"):
            add(path, name, "owns no database", choose(name, owners, "write the owner of the database"))
    for path, settings in select(document, "postgres.settings"):
        _settings(path, settings, add)


def _settings(path: str, settings: dict[str, Any], add: Add) -> None:
    for key, value in settings.items():
        if key.lower() in FORBIDDEN_SETTINGS:
            add(f"{path}.{key}", None, "may not be set here", FORBIDDEN_SETTINGS[key.lower()])
        elif not re.fullmatch(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?", key):
            add(f"{path}.{key}", None, "is not the name of a setting", "write it as `SHOW ALL` does")
        elif not isinstance(value, (str, int, float)) or "\n" in str(value):
            add(f"{path}.{key}", value, "is not the value of a setting", "write one value in one line")


def choose(name: str, names: list[str], otherwise: str) -> str:
    """The hint for a name that does not exist."""
    close = nearest(name, names)
    if close:
        return f"did you mean {close}?"
    return f"write one of {', '.join(names)}, or {otherwise}" if names else otherwise


def must_be_reference(document: Document, add: Add) -> None:
    """Passwords and keys are references, never literals."""
    for pattern, example in MUST_BE_REFERENCES.items():
        for path, value in select(document, pattern):
            if not _secrets.references(value) and not _secrets.malformed(value):
                add(
                    path,
                    None,
                    "holds a literal secret",
                    f'write "${{{example}}}" and put the value into the secret store',
                )
    for path, text in _secrets.texts(document, "site"):
        # In the environment of a service a reference is wrong whatever its form: that rule speaks for it.
        if re.match(r"site\.services\[\d+\]\.env\.", path):
            continue
        for piece in _secrets.malformed(text):
            add(path, piece, "is no reference", "write ${NAME} or ${NAME:url}")


def encryption(document: Document, add: Add) -> None:
    """An archive is encrypted, with a key of which there is a second copy, or it is in the clear on purpose."""
    backup = document.get("backup")
    if not backup or backup.get("encryption") == "none":
        return
    if backup.get("encryption_key") is None:
        add(
            "site.backup.encryption_key",
            None,
            "is missing, and the archive is encrypted",
            "make a key with `openssl rand -hex 32`, put it into the secret store, and write ${BACKUP_ENCRYPTION_KEY}",
        )
    elif backup.get("encryption_fingerprint") is None:
        add(
            "site.backup.encryption_fingerprint",
            None,
            "is missing: whoever loses the key loses every backup",
            "keep a second copy of the key elsewhere and compute its fingerprint from that copy: "
            '`read -rs key; printf %s "$key" | sha256sum | cut -c1-16`',
        )


def lockdown(document: Document, add: Add) -> None:
    """A node without a tag logs itself out after some months, and SSH with it."""
    if not (document.get("tailscale") or {}).get("enabled", True):
        return
    for path, tags in select(document, "tailscale.tags"):
        if tags == []:
            add(path, tags, "is empty, and a node without a tag logs itself out one day", "write tag:server")


def references_exist(document: Document, secrets: dict[str, str], add: Add, made: Collection[str] = ()) -> None:
    """Every ``${NAME}`` has a value that can be used where it stands. Messages hold names only.

    Those in ``made`` are put into the store by a playbook.
    """
    for path, text in _secrets.texts(document, "site"):
        # A host that has joined its tailnet needs no key any more, and keys expire: a store without one is in order.
        if re.match(r"site\.services\[\d+\]\.env\.|site\.tailscale\.auth_key$", path):
            continue
        for reference in _secrets.references(text):
            shown = f"${{{reference.name}}}"
            if reference.name not in secrets:
                add(
                    path,
                    None,
                    f"{shown} is not in the secret store",
                    "run clouds.yml, which makes it" if reference.name in made else _similar(reference.name, secrets),
                )
            elif not secrets[reference.name]:
                add(path, None, f"{shown} is empty in the secret store", "give it a value")
            elif (
                "://" in text
                and not reference.escaped
                and not re.fullmatch(r"[A-Za-z0-9._~-]+", secrets[reference.name])
            ):
                add(
                    path,
                    None,
                    f"{shown} has characters that mean something else in a URL",
                    f"write ${{{reference.name}:url}}",
                )


def _similar(name: str, secrets: dict[str, str]) -> str:
    by_lower = {key.lower(): key for key in secrets}
    close = nearest(name, list(by_lower), cutoff=0.8)
    return f"did you mean ${{{by_lower[close]}}}?" if close else f"add {name} to it"


def report(problems: list[Problem], secret_paths: Callable[[str], bool]) -> Add:
    """An :data:`Add` that appends to ``problems`` and masks values of secret paths."""

    def add(path: str, value: Any, reason: str, suggestion: str) -> None:
        problems.append(Problem(path, "" if value is None else show(value, secret_paths(path)), reason, suggestion))

    return add
