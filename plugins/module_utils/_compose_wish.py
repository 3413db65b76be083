# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project shall be, and how it gets there from what it is: services, slots, moves, the Compose file. Pure.

A service has two slots, `blue` and `green`. The one that serves is active; a new release takes the other one, and when
it has proven itself the first is retired.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

BLUE, GREEN = "blue", "green"
HASH_LABEL = "com.sapflux.config-hash"
SLOT_LABEL = "com.sapflux.slot"
#: What a definition leaves open; the controller's half is in _compose_model.
SLOT, PORT, BASE = "{sapflux:slot}", "{sapflux:port}", "{sapflux:base}"
#: The copy of the authority that containers can read, in the directory of the project.
CA_NAME = "ca.crt"
#: Nothing listens here. Caddy keeps a request that cannot be dialled and asks the upstream file again.
HOLD_ADDRESS = "127.0.0.1:9"


@dataclass(frozen=True)
class ServiceWish:
    """One service as the module gets it: `definition` is what its hash covers, times are in seconds, memory in MB.

    `secret_files` are the files of its slot's directory, by name; the label of a definition stands for their content.
    """

    name: str
    image: str
    definition: str
    secrets_env: str
    uid: int
    gid: int
    host_port: int
    health_path: str
    standby_port: int = 0
    blue_green: bool = True
    health_timeout: int = 60
    ready_path: str = ""
    migrate_path: str = ""
    migrate_irreversible: bool = False
    memory_mb: int = 256
    drain_sql: str = ""
    drain_database: str = ""
    drain_timeout: int = 300
    stop_grace: int = 30
    database_socket: bool = False
    ca_file: str = ""
    assets: tuple[str, ...] = ()
    secret_files: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """sha256:... of the image."""
        return self.image.rpartition("@")[2]

    def slot(self, colour: str) -> str:
        """Name of the Compose service that is this service's slot."""
        return f"{self.name}-{colour}"

    def port(self, colour: str) -> int:
        """Loopback port of a slot."""
        return self.standby_port if self.blue_green and colour == GREEN else self.host_port

    def address(self, colour: str) -> str:
        """host:port of a slot, as Caddy dials it."""
        return f"127.0.0.1:{self.port(colour)}"


@dataclass(frozen=True)
class Wish:
    """A whole project: its Compose file without services (JSON), its services, its systemd unit's text."""

    project: str
    compose: str
    unit: str
    services: tuple[ServiceWish, ...]

    def dump(self) -> dict[str, Any]:
        """As plain data; holds secrets."""
        return asdict(self)

    @staticmethod
    def load(data: Mapping[str, Any]) -> Wish:
        """The opposite of dump; raises KeyError or TypeError for anything else."""
        services = tuple(ServiceWish(**{**item, "assets": tuple(item["assets"])}) for item in data["services"])
        return Wish(project=data["project"], compose=data["compose"], unit=data["unit"], services=services)

    def service(self, name: str) -> ServiceWish | None:
        """The service of that name."""
        return next((service for service in self.services if service.name == name), None)


@dataclass(frozen=True)
class Deployed:
    """What serves: the wish it came from, its keyed hashes, and the active colour, by service."""

    release: str
    wish: Wish
    hashes: Mapping[str, str]
    active: Mapping[str, str]

    def dump(self) -> dict[str, Any]:
        """As plain data; holds secrets."""
        return {
            "release": self.release,
            "wish": self.wish.dump(),
            "hashes": dict(self.hashes),
            "active": dict(self.active),
        }

    @staticmethod
    def load(data: Mapping[str, Any]) -> Deployed:
        """The opposite of dump; raises KeyError or TypeError for anything else."""
        return Deployed(data["release"], Wish.load(data["wish"]), dict(data["hashes"]), dict(data["active"]))

    @property
    def slots(self) -> dict[str, tuple[ServiceWish, str]]:
        """Service and colour of every slot that serves, by the slot's name."""
        return {
            service.slot(self.active[service.name]): (service, self.active[service.name])
            for service in self.wish.services
        }


@dataclass(frozen=True)
class Move:
    """A service that changes: from the colour that serves ('' = none yet) to the other ('' = the service goes).

    `hold` = the old one stops before the new one starts, and requests wait meanwhile.
    """

    service: str
    source: str
    target: str
    hold: bool = False


def config_hash(key: bytes, service: ServiceWish) -> str:
    """Keyed hash over definition and secrets: changes with a secret, and tells nothing about it to who reads labels."""
    message = b"\0".join([service.definition.encode(), service.secrets_env.encode()])
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def unpacked_secrets(packed: str) -> dict[str, str]:
    """Dotenv text by service from the opaque string of the filter; {} for an empty one."""
    return {str(name): str(text) for name, text in json.loads(base64.b64decode(packed)).items()} if packed else {}


def hashes(wish: Wish, key: bytes | None) -> dict[str, str]:
    """Keyed hash by service; empty while the host has no key."""
    return {service.name: config_hash(key, service) for service in wish.services} if key else {}


def release_id(known: Mapping[str, str]) -> str:
    """12 hex digits that name this very set of services, images, settings and secrets on this host."""
    return hashlib.sha256("\0".join(f"{name}={known[name]}" for name in sorted(known)).encode()).hexdigest()[:12]


def moves(wish: Wish, known: Mapping[str, str], now: Deployed | None) -> list[Move]:
    """What has to change hands: services that are new, differ, or go. A service that is as it was keeps its slot."""
    active = now.active if now else {}
    served = now.hashes if now else {}
    found = []
    for service in wish.services:
        source = active.get(service.name, "")
        if not source or served.get(service.name) != known.get(service.name):
            target = BLUE if source in ("", GREEN) else GREEN
            found.append(Move(service.name, source, target, bool(source) and not service.blue_green))
    gone = [name for name in active if wish.service(name) is None]
    return found + [Move(name, active[name], "") for name in sorted(gone)]


def after(wish: Wish, release: str, known: Mapping[str, str], now: Deployed | None, todo: Sequence[Move]) -> Deployed:
    """What serves when the moves are made."""
    active = dict(now.active) if now else {}
    active.update({move.service: move.target for move in todo})
    kept = {name: colour for name, colour in active.items() if colour and wish.service(name)}
    return Deployed(release, wish, known, kept)


def hold_for_memory(todo: Sequence[Move], wish: Wish, available_mb: int, reserve_mb: int) -> list[Move]:
    """The same moves, but all of them held where a second colour beside the first does not fit into the memory."""
    needed = sum(service.memory_mb for move in todo if move.target and (service := wish.service(move.service)))
    if needed + reserve_mb <= available_mb:
        return list(todo)
    return [Move(move.service, move.source, move.target, bool(move.source)) if move.target else move for move in todo]


def slot_definition(service: ServiceWish, colour: str, value: str, base: str) -> dict[str, Any]:
    """A slot in Compose's words, with the label that carries the keyed hash."""
    text = service.definition
    for token, given in ((SLOT, service.slot(colour)), (PORT, str(service.port(colour))), (BASE, base)):
        text = text.replace(token, given)
    definition = dict(json.loads(text))
    definition["labels"] = {**definition.get("labels", {}), SLOT_LABEL: colour, HASH_LABEL: value}
    return definition


def compose_text(wish: Wish, slots: Mapping[str, Mapping[str, Any]]) -> str:
    """The Compose file with these slots. It is JSON, which is YAML as well."""
    document = json.loads(wish.compose)
    document["services"] = {name: slots[name] for name in sorted(slots)}
    return json.dumps(document, indent=2) + "\n"


def definitions(deployed: Deployed, base: str) -> dict[str, dict[str, Any]]:
    """Definition of every slot that serves, by the slot's name."""
    return {
        slot: slot_definition(service, colour, deployed.hashes[service.name], base)
        for slot, (service, colour) in deployed.slots.items()
    }


def upstreams(deployed: Deployed) -> dict[str, str]:
    """Address by service."""
    return {service.name: service.address(colour) for service, colour in deployed.slots.values()}


def irreversible_between(migrated: Sequence[str], irreversible: Sequence[str], digest: str) -> str:
    """The digest whose migration cannot be undone and which came after `digest`; '' when the way is open.

    `migrated` is in the order of time; a digest that is not in it is a new one.
    """
    later = migrated[migrated.index(digest) + 1 :] if digest in migrated else ()
    return next((one for one in later if one in irreversible), "")
