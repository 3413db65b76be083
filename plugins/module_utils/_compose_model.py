# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of an application as a Compose project: checks, hardening defaults, labels, dotenv text.

Pure functions, used on the controller. Private to this collection.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Stands in the rendered project where the host puts a service's keyed hash; only the host has the key.
HASH_PLACEHOLDER = "sapflux-hash-of-{name}"
#: Label that carries the keyed hash over a service's definition and its secrets.
HASH_LABEL = "com.sapflux.config-hash"
POSTGRES_SOCKET_DIR = "/run/postgresql"
#: libpq and the drivers look here; on Debian it is the same directory.
POSTGRES_SOCKET_TARGET = "/var/run/postgresql"
DEFAULT_USER = "10001:10001"
DEFAULT_SECRETS_PATH = "/run/secrets/env"
TMPFS_DEFAULTS = "size=64m,mode=1777,noexec,nosuid,nodev"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?")
_HTTP_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
_FILE_PATH = re.compile(r"(?:/[A-Za-z0-9._-]+)+")
_TMPFS = re.compile(r"(?:/[A-Za-z0-9._-]+)+(?::[a-z0-9=,]+)?")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class ComposeError(Exception):
    """A service that cannot become a container; the message names it and the way out and holds no secret."""


@dataclass(frozen=True)
class Service:
    """One service. Ports are TCP, memory is MB, times are seconds; `secrets` never appears in a repr."""

    name: str
    image: str
    port: int
    host_port: int
    health_path: str = "/health"
    health_timeout: int = 60
    ready_path: str = ""
    migrate_path: str = ""
    memory_mb: int = 256
    user: str = DEFAULT_USER
    read_only: bool = True
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108 - in the container
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets_path: str = DEFAULT_SECRETS_PATH
    database_socket: bool = False
    extra_hosts: tuple[str, ...] = ()

    @property
    def uid(self) -> int:
        """User id that owns the service's secrets file."""
        return int(self.user.split(":", maxsplit=1)[0])

    @property
    def gid(self) -> int:
        """Group id of the service's secrets file."""
        return int(self.user.rsplit(":", 1)[-1])


def _text(value: object, what: str, pattern: re.Pattern[str], wanted: str, empty: bool = False) -> str:
    if empty and value in ("", None):
        return ""
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ComposeError(f"{what} is {value!r}; write {wanted}")
    return str(value)


def _number(value: object, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not re.fullmatch(r"[0-9]{1,9}", str(value)):
        raise ComposeError(f"{what} is {value!r}; write a whole number from {low} to {high}")
    number = int(value)
    if not low <= number <= high:
        raise ComposeError(f"{what} is {number}; write a whole number from {low} to {high}")
    return number


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise ComposeError(f"{what} is {value!r}; write true or false")
    return value


def _texts(value: object, what: str, pattern: re.Pattern[str], wanted: str) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ComposeError(f"{what} is a {type(value).__name__}; write a list")
    return tuple(_text(item, f"{what}[{number}]", pattern, wanted) for number, item in enumerate(value))


def _environment(value: object, what: str, secret: bool = False) -> dict[str, str]:
    """Names and texts; a value is never repeated in an error because it may be a secret."""
    if not isinstance(value, Mapping):
        raise ComposeError(f"{what} is a {type(value).__name__}; write a dictionary of names and values")
    texts: dict[str, str] = {}
    for key, item in value.items():
        name = _text(key, f"a name in {what}", _ENV_KEY, "letters, digits and underscores, not beginning with a digit")
        if isinstance(item, bool):
            item = "true" if item else "false"
        elif isinstance(item, (int, float)):
            item = str(item)
        if not isinstance(item, str):
            raise ComposeError(f"{what}.{name} is a {type(item).__name__}; write a text in quotes")
        if "\0" in item or (not secret and re.search(r"[\r\n]", item)):
            raise ComposeError(f"{what}.{name} holds a line break or a NUL; pass such a value as a file")
        texts[name] = str(item)
    return texts


def _extra_hosts(value: object, what: str) -> tuple[str, ...]:
    """`name:address` entries; the address may be IPv6 or host-gateway."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ComposeError(f"{what} is a {type(value).__name__}; write a list of name:address")
    entries: list[str] = []
    for item in value:
        name, _colon, address = str(item).partition(":")
        try:
            good = _HOST.fullmatch(name) is not None and (
                address == "host-gateway" or bool(ipaddress.ip_address(address))
            )
        except ValueError:
            good = False
        if not good:
            raise ComposeError(f"{what} holds {item!r}; write name:address, for example db.internal:10.0.0.5")
        entries.append(str(item))
    return tuple(entries)


def parse_service(given: object, where: str) -> Service:
    """Check one service and fill in the defaults; raises ComposeError."""
    if not isinstance(given, Mapping):
        raise ComposeError(f"{where} is a {type(given).__name__}; write a dictionary")
    known = Service.__dataclass_fields__
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise ComposeError(f"{where} has the unknown key {unknown[0]!r}; known keys are {', '.join(sorted(known))}")
    missing = [key for key in ("name", "image", "port", "host_port") if key not in given]
    if missing:
        raise ComposeError(f"{where} lacks {', '.join(missing)}")
    name = _text(given["name"], f"{where}.name", _NAME, "a short name of lower-case letters, digits and dashes")
    at = f"service {name}:"
    path = "a path beginning with /"
    return Service(
        name=name,
        image=_text(given["image"], f"{at} image", _IMAGE, "name@sha256:<64 hex digits>; a tag can change under you"),
        port=_number(given["port"], f"{at} port", 1, 65535),
        host_port=_number(given["host_port"], f"{at} host_port", 1024, 65535),
        health_path=_text(given.get("health_path", "/health"), f"{at} health_path", _HTTP_PATH, path),
        health_timeout=_number(given.get("health_timeout", 60), f"{at} health_timeout", 1, 3600),
        ready_path=_text(given.get("ready_path", ""), f"{at} ready_path", _HTTP_PATH, path, empty=True),
        migrate_path=_text(given.get("migrate_path", ""), f"{at} migrate_path", _HTTP_PATH, path, empty=True),
        memory_mb=_number(given.get("memory_mb", 256), f"{at} memory_mb", 16, 1_048_576),
        user=_text(given.get("user", DEFAULT_USER), f"{at} user", _USER, "numeric ids such as 10001:10001"),
        read_only=_flag(given.get("read_only", True), f"{at} read_only"),
        tmpfs=_texts(
            given.get("tmpfs", list(Service.tmpfs)),
            f"{at} tmpfs",
            _TMPFS,
            "an absolute path, for example /tmp or /tmp:size=16m",
        ),
        env=_environment(given.get("env", {}), f"{at} env"),
        secrets=_environment(given.get("secrets", {}), f"{at} secrets", secret=True),
        secrets_path=_text(
            given.get("secrets_path", DEFAULT_SECRETS_PATH), f"{at} secrets_path", _FILE_PATH, "an absolute path"
        ),
        database_socket=_flag(given.get("database_socket", False), f"{at} database_socket"),
        extra_hosts=_extra_hosts(given.get("extra_hosts", []), f"{at} extra_hosts"),
    )


def parse_services(given: object) -> list[Service]:
    """All services; names and host ports must differ."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise ComposeError(f"the services are a {type(given).__name__}; write a list")
    services = [parse_service(item, f"services[{number}]") for number, item in enumerate(given)]
    for kind, values in (("name", [s.name for s in services]), ("host port", [str(s.host_port) for s in services])):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ComposeError(f"the {kind} {twice[0]} is given to two services; each needs its own")
    for service in services:
        both = sorted(set(service.env) & {*service.secrets, "SECRETS_FILE"})
        if both:
            raise ComposeError(f"service {service.name}: {both[0]} is set in env and by secrets; keep one of them")
    return services


def dotenv(values: Mapping[str, str]) -> str:
    """Sorted KEY='value' lines as dotenv readers of every language understand them.

    Double quotes, with escapes, only where single ones cannot do: for a value with a single quote or a line break.
    """
    lines = []
    for key in sorted(values):
        value = values[key]
        if re.search(r"['\r\n]", value):
            escaped = (
                value.replace("\\", "\\\\")
                .replace('"', '\\"')
                .replace("$", "\\$")
                .replace("\n", "\\n")
                .replace("\r", "\\r")
            )
            lines.append(f'{key}="{escaped}"')
        else:
            lines.append(f"{key}='{value}'")
    return "".join(f"{line}\n" for line in lines)


def bridge_name(project: str) -> str:
    """Name of the project's network interface: at most 15 characters, the same on every run."""
    if len(project) <= 12:
        return f"br-{project}"
    return f"br-{project[:6]}-{hashlib.sha256(project.encode()).hexdigest()[:5]}"


def _mounts(project: str, service: Service, run_dir: str) -> list[dict[str, object]]:
    # create_host_path: false = a missing source is an error at start, not an empty directory made by the engine.
    mounts: list[dict[str, object]] = []
    if service.secrets:
        source = f"{run_dir}/{project}/{service.name}.env"
        mounts.append(
            {
                "type": "bind",
                "source": source,
                "target": service.secrets_path,
                "read_only": True,
                "bind": {"create_host_path": False},
            }
        )
    if service.database_socket:
        mounts.append(
            {
                "type": "bind",
                "source": POSTGRES_SOCKET_DIR,
                "target": POSTGRES_SOCKET_TARGET,
                "read_only": True,
                "bind": {"create_host_path": False},
            }
        )
    return mounts


def _labels(project: str, service: Service) -> dict[str, object]:
    return {"com.sapflux.project": project, "com.sapflux.service": service.name}


def service_definition(project: str, service: Service, run_dir: str) -> dict[str, object]:
    """One service in Compose's words, everything but the label with the keyed hash."""
    environment = dict(service.env)
    if service.secrets:
        environment["SECRETS_FILE"] = service.secrets_path
    definition: dict[str, object] = {
        "image": service.image,
        "init": True,
        "user": service.user,
        "read_only": service.read_only,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": f"{service.memory_mb}m",
        # The same number: the limit is meant, without as much swap again on top of it.
        "memswap_limit": f"{service.memory_mb}m",
        "pids_limit": 256,
        "oom_score_adj": 500,
        "restart": "unless-stopped",
        "stop_grace_period": "30s",
        "logging": {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}},
        "ports": [f"127.0.0.1:{service.host_port}:{service.port}"],
        "labels": _labels(project, service),
    }
    optional: dict[str, object] = {
        "tmpfs": [path if ":" in path else f"{path}:{TMPFS_DEFAULTS}" for path in service.tmpfs],
        "environment": environment,
        "volumes": _mounts(project, service, run_dir),
        "extra_hosts": list(service.extra_hosts),
    }
    definition.update({key: value for key, value in optional.items() if value})
    return definition


def _escaped(value: object) -> object:
    """Compose replaces ${X} in every text; ours are final, so a dollar sign is doubled."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value


def project_document(project: str, services: Sequence[Service], run_dir: str) -> dict[str, object]:
    """The whole Compose file as a dictionary; the keyed hashes are placeholders still."""
    if _NAME.fullmatch(project) is None:
        raise ComposeError(
            f"the project name is {project!r}; write a short name of lower-case letters, digits and dashes"
        )
    rendered: dict[str, object] = {}
    for service in services:
        definition = service_definition(project, service, run_dir)
        labels = {**_labels(project, service), HASH_LABEL: HASH_PLACEHOLDER.format(name=service.name)}
        rendered[service.name] = _escaped({**definition, "labels": labels})
    options = {
        "com.docker.network.bridge.name": bridge_name(project),
        "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
    }
    return {
        "name": project,
        "services": rendered,
        "networks": {"default": {"driver": "bridge", "driver_opts": options}},
    }


def service_record(project: str, service: Service, run_dir: str) -> dict[str, object]:
    """What the host must know of a service beside the Compose file: how to ask it, and what is hashed."""
    return {
        "name": service.name,
        "image": service.image,
        "definition": json.dumps(service_definition(project, service, run_dir), sort_keys=True),
        "uid": service.uid,
        "gid": service.gid,
        "host_port": service.host_port,
        "health_path": service.health_path,
        "health_timeout": service.health_timeout,
        "ready_path": service.ready_path,
        "migrate_path": service.migrate_path,
    }


def packed_secrets(services: Sequence[Service]) -> str:
    """Dotenv text of every service that has secrets, as one opaque string: base64 of a JSON object by service name.

    Ansible logs a module's arguments on the host and hides values of `no_log` options by looking for them; inside of a
    list they are printed with escapes and not found. One word that is an option of its own is hidden whatever it holds.
    """
    texts = {service.name: dotenv(service.secrets) for service in services if service.secrets}
    return base64.b64encode(json.dumps(texts, sort_keys=True).encode()).decode()
