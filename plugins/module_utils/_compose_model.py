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

from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_doppler as cli

#: What only the host knows when it starts a container: the slot it takes (`api-blue`), its port, the project's place.
SLOT, PORT, BASE = "{sapflux:slot}", "{sapflux:port}", "{sapflux:base}"
POSTGRES_SOCKET_DIR = "/run/postgresql"
#: libpq and the drivers look here; on Debian it is the same directory.
POSTGRES_SOCKET_TARGET = "/var/run/postgresql"
#: Where a service finds the authority of the sites that it asks by their public names.
CA_TARGET = "/etc/sapflux/ca.crt"
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
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_DOPPLER_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class ComposeError(Exception):
    """A service that cannot become a container; the message names it and the way out and holds no secret."""


@dataclass(frozen=True)
class Service:
    """One service. Ports are TCP, memory is MB, times are seconds; `secrets` never appears in a repr.

    A service has two slots, blue on `host_port` and green on `standby_port`. Without `blue_green` they are never up
    at the same time and share `host_port`.
    """

    name: str
    image: str
    port: int
    host_port: int
    health_path: str = "/health"
    health_timeout: int = 60
    ready_path: str = ""
    migrate_path: str = ""
    migrate_irreversible: bool = False
    standby_port: int = 0
    blue_green: bool = True
    drain_sql: str = ""
    drain_database: str = ""
    drain_timeout: int = 300
    stop_grace: int = 30
    assets: tuple[str, ...] = ()
    memory_mb: int = 256
    user: str = DEFAULT_USER
    read_only: bool = True
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108 - in the container
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets_path: str = DEFAULT_SECRETS_PATH
    doppler: Mapping[str, object] = field(default_factory=dict, repr=False)
    database_socket: bool = False
    ca_file: str = ""
    extra_hosts: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """Loopback ports of its slots."""
        return (self.host_port, self.standby_port) if self.blue_green else (self.host_port,)

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


def _sql(value: object, what: str) -> str:
    """One statement, or nothing."""
    if not isinstance(value, str) or "\0" in value:
        raise ComposeError(f"{what} is a {type(value).__name__}; write a query as a text")
    return str(value).strip()


def _doppler(value: object, what: str) -> dict[str, object]:
    """Where the secrets of a service are in Doppler; {} for none. The token is never repeated in an error."""
    if not isinstance(value, Mapping):
        raise ComposeError(f"{what} is a {type(value).__name__}; write a dictionary with a token")
    if not value:
        return {}
    unknown = sorted(set(value) - {"token", "only", "api_host", "environment", "domain"})
    if unknown:
        raise ComposeError(
            f"{what} has the unknown key {unknown[0]!r}; it knows token, only, api_host, environment, domain"
        )
    if not isinstance(value.get("token"), str) or cli.TOKEN.fullmatch(value["token"]) is None:
        raise ComposeError(f"{what}.token is no token of Doppler; write a service token, which begins with dp.st.")
    names = "names of secrets in capital letters"
    return {
        "token": str(value["token"]),
        "only": list(_texts(value.get("only", []), f"{what}.only", _DOPPLER_NAME, names)),
        "api_host": _text(value.get("api_host", cli.API_HOST), f"{what}.api_host", _URL, "a URL"),
        "environment": str(value.get("environment", "")),
        "domain": str(value.get("domain", "")),
    }


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
    host_port = _number(given["host_port"], f"service {name}: host_port", 1024, 65535)
    at = f"service {name}:"
    path = "a path beginning with /"
    return Service(
        name=name,
        image=_text(given["image"], f"{at} image", _IMAGE, "name@sha256:<64 hex digits>; a tag can change under you"),
        port=_number(given["port"], f"{at} port", 1, 65535),
        host_port=host_port,
        standby_port=_number(given.get("standby_port") or host_port + 1, f"{at} standby_port", 1024, 65535),
        blue_green=_flag(given.get("blue_green", True), f"{at} blue_green"),
        health_path=_text(given.get("health_path", "/health"), f"{at} health_path", _HTTP_PATH, path),
        health_timeout=_number(given.get("health_timeout", 60), f"{at} health_timeout", 1, 3600),
        ready_path=_text(given.get("ready_path", ""), f"{at} ready_path", _HTTP_PATH, path, empty=True),
        migrate_path=_text(given.get("migrate_path", ""), f"{at} migrate_path", _HTTP_PATH, path, empty=True),
        migrate_irreversible=_flag(given.get("migrate_irreversible", False), f"{at} migrate_irreversible"),
        drain_sql=_sql(given.get("drain_sql", ""), f"{at} drain_sql"),
        drain_database=_text(
            given.get("drain_database", ""), f"{at} drain_database", _DATABASE, "the name of a database", empty=True
        ),
        drain_timeout=_number(given.get("drain_timeout", 300), f"{at} drain_timeout", 0, 86_400),
        stop_grace=_number(given.get("stop_grace", 30), f"{at} stop_grace", 0, 3600),
        assets=_texts(given.get("assets", []), f"{at} assets", _FILE_PATH, "an absolute path in the container"),
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
        doppler=_doppler(given.get("doppler", {}), f"{at} doppler"),
        database_socket=_flag(given.get("database_socket", False), f"{at} database_socket"),
        ca_file=_text(given.get("ca_file", ""), f"{at} ca_file", _FILE_PATH, "an absolute path", empty=True),
        extra_hosts=_extra_hosts(given.get("extra_hosts", []), f"{at} extra_hosts"),
    )


def parse_services(given: object) -> list[Service]:
    """All services; names and ports must differ."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise ComposeError(f"the services are a {type(given).__name__}; write a list")
    services = [parse_service(item, f"services[{number}]") for number, item in enumerate(given)]
    names = [service.name for service in services]
    ports = [str(port) for service in services for port in service.ports]
    for kind, values in (("name", names), ("host port", ports)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ComposeError(f"the {kind} {twice[0]} is given to two services or slots; each needs its own")
    for service in services:
        if service.drain_sql and not service.drain_database:
            raise ComposeError(f"service {service.name}: drain_sql needs drain_database, the database it is asked in")
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


def _bind(source: str, target: str) -> dict[str, object]:
    """A read-only mount; a missing source is an error at start, not an empty directory made by the engine."""
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def _mounts(project: str, service: Service, run_dir: str) -> list[dict[str, object]]:
    """What a container sees of the host. Each slot has a secrets file of its own, because two releases have two."""
    mounts = []
    if service.secrets:
        mounts.append(_bind(f"{run_dir}/{project}/{SLOT}.env", service.secrets_path))
    if service.doppler:
        mounts.append(_bind(cli.CLI, cli.INSIDE))
        mounts.append(_bind(f"{run_dir}/{project}/{SLOT}.doppler", cli.CONFIG_INSIDE))
    if service.database_socket:
        mounts.append(_bind(POSTGRES_SOCKET_DIR, POSTGRES_SOCKET_TARGET))
    if service.ca_file:
        mounts.append(_bind(f"{BASE}/ca.crt", CA_TARGET))
    for number, path in enumerate(service.assets):
        mounts.append(_bind(f"{BASE}/assets/{service.name}/{number}", path))
    return mounts


def service_definition(project: str, service: Service, run_dir: str) -> dict[str, object]:
    """One service in Compose's words. The host puts slot, port and directory in, and the label with the keyed hash."""
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
        "stop_grace_period": f"{service.stop_grace}s",
        "logging": {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}},
        "ports": [f"127.0.0.1:{PORT}:{service.port}"],
        "labels": {"com.sapflux.project": project, "com.sapflux.service": service.name},
    }
    optional: dict[str, object] = {
        "tmpfs": [path if ":" in path else f"{path}:{TMPFS_DEFAULTS}" for path in service.tmpfs],
        # The host puts behind it what the image runs.
        "entrypoint": cli.entrypoint() if service.doppler else [],
        "environment": environment,
        "volumes": _mounts(project, service, run_dir),
        "extra_hosts": list(service.extra_hosts),
        # Only where two slots are never up together does the plain name mean one container.
        "networks": {} if service.blue_green else {"default": {"aliases": [service.name]}},
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


def project_frame(project: str) -> dict[str, object]:
    """The Compose file as a dictionary, but for its services: which slots there are is decided on the host."""
    if _NAME.fullmatch(project) is None:
        raise ComposeError(
            f"the project name is {project!r}; write a short name of lower-case letters, digits and dashes"
        )
    options = {
        "com.docker.network.bridge.name": bridge_name(project),
        "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
    }
    return {"name": project, "networks": {"default": {"driver": "bridge", "driver_opts": options}}}


def service_record(project: str, service: Service, run_dir: str) -> dict[str, object]:
    """What the host must know of a service: its definition, how to ask it, how to let it go."""
    told = (
        "name image uid gid host_port standby_port blue_green health_path health_timeout ready_path migrate_path "
        "migrate_irreversible memory_mb drain_sql drain_database drain_timeout stop_grace database_socket "
        "ca_file"
    )
    record: dict[str, object] = {key: getattr(service, key) for key in told.split()}
    record["assets"] = list(service.assets)
    record["definition"] = json.dumps(_escaped(service_definition(project, service, run_dir)), sort_keys=True)
    return record


def packed_secrets(services: Sequence[Service]) -> str:
    """Secrets of all services as one opaque string: base64 of a JSON object of dotenv texts by service name.

    Behind `doppler:` and a name is where that service's secrets are in Doppler, as JSON.

    Ansible logs a module's arguments on the host and hides values of `no_log` options by looking for them; inside of a
    list they are printed with escapes and not found. One word that is an option of its own is hidden whatever it holds.
    """
    texts = {service.name: dotenv(service.secrets) for service in services if service.secrets}
    texts.update({f"doppler:{one.name}": json.dumps(one.doppler, sort_keys=True) for one in services if one.doppler})
    return base64.b64encode(json.dumps(texts, sort_keys=True).encode()).decode()
