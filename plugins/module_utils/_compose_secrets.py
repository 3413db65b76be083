# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wish whose services have their secrets from Doppler, and one that changes nothing of what serves but secrets.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ._clerk import clerk_problems
from ._compose_doppler import CLI, SEALED, Doppler, Run, Sealed, Source, run_cli, secret_files
from ._compose_host import DeployError, Layout, make_directories, make_key, read_bytes, read_key
from ._compose_state import read_deployed
from ._compose_wish import BLUE, GREEN, ServiceWish, Wish

#: Before a service's name in the packed secrets: no service can be called so.
PACKED = "doppler:"
#: Labels that make a container of another one: keyed hash of the values, version of the CLI.
MARK_LABEL, CLI_LABEL = "com.sapflux.secrets", "com.sapflux.doppler"
#: Beside the sealed file, so that a run finds the one that another run has sealed.
MARK = "mark"


@dataclass(frozen=True)
class Wanted:
    """What a service shall have from Doppler, and what Clerk's keys in it must be of (empty = whatever they are)."""

    source: Source
    environment: str = ""
    domain: str = ""


def wanted_secrets(texts: Mapping[str, str]) -> dict[str, Wanted]:
    """What is wanted by service, from the unpacked secrets of the filter."""
    found = {}
    for name, text in texts.items():
        if name.startswith(PACKED):
            given = json.loads(text)
            source = Source(given["token"], tuple(given["only"]), given["api_host"])
            found[name[len(PACKED) :]] = Wanted(source, given["environment"], given["domain"])
    return found


def prepared(
    wish: Wish,
    texts: Mapping[str, str],
    layout: Layout,
    predict: bool = False,
    rotate: bool = False,
    run: Run = run_cli,
    cli: str = CLI,
) -> tuple[Wish, list[str]]:
    """The wish with the secrets that Doppler has now, and warnings; with `rotate` nothing else of what serves changes.

    Raises DeployError before anything that runs is touched. With `predict` not even the host's key is made.
    """
    wanted, warnings = wanted_secrets(texts), list[str]()
    if wanted and not (predict and not os.path.exists(cli)):
        if not predict:
            make_directories(layout)
        key = read_key(layout) if predict else make_key(layout)
        wish, warnings = with_secrets(wish, wanted, layout, key or b"none yet", run, cli)
    return (only_secrets(wish, layout) if rotate else wish), warnings


def with_secrets(
    wish: Wish, wanted: Mapping[str, Wanted], layout: Layout, key: bytes, run: Run = run_cli, cli: str = CLI
) -> tuple[Wish, list[str]]:
    """The wish with sealed secrets, and warnings. Raises DeployError; nothing on the host is changed.

    A service whose secrets are those it was sealed with before keeps that very file, so that nothing differs.
    """
    now = read_deployed(layout)
    # Both are in memory; the first is not there yet on a host that is only looked at.
    scratch = layout.run if layout.run.is_dir() else layout.root / "run"
    doppler = Doppler(key, scratch, run, cli)
    services, warnings = [], []
    for service in wish.services:
        if service.name in wanted:
            old = now.wish.service(service.name) if now else None
            last = old.secret_files.get(SEALED, "") if old else ""
            want = wanted[service.name]
            sealed = doppler.fetch(service.name, want.source, last.encode())
            _check(service, want, sealed)
            if not sealed.fresh:
                warnings.append(f"Doppler does not answer; {service.name} keeps the secrets it serves with")
            service = _with_files(service, sealed, key, layout, old, cli)
        services.append(service)
    return replace(wish, services=tuple(services)), warnings


def _check(service: ServiceWish, want: Wanted, sealed: Sealed) -> None:
    empty = [name for name in want.source.only if not sealed.values.get(name)]
    if empty:
        raise DeployError(
            f"the secret {empty[0]} of {service.name} is empty; nothing was changed. Store its value in Doppler"
        )
    if want.environment and want.domain:
        known = {**json.loads(service.definition).get("environment", {}), **sealed.values}
        problems = clerk_problems(known, want.environment, want.domain)
        if problems:
            told = ". ".join(str(problem) for problem in problems)
            raise DeployError(f"secrets of {service.name} are not right; nothing was changed: {told}")


def _with_files(
    service: ServiceWish, sealed: Sealed, key: bytes, layout: Layout, old: ServiceWish | None, cli: str
) -> ServiceWish:
    mark = sealed.mark(key)
    files = {**secret_files(sealed, key), MARK: mark}
    live = [_live(layout, service.slot(colour)) for colour in (BLUE, GREEN)]
    for earlier in (old.secret_files if old else {}, *live):
        if earlier.get(MARK) == mark and earlier.get(SEALED):
            # Each time it is sealed with another salt; what is in use already stays in use.
            files[SEALED] = earlier[SEALED]
            break
    definition = json.loads(service.definition)
    version = os.path.basename(os.path.dirname(os.path.realpath(cli)))
    definition["labels"] = {**definition.get("labels", {}), MARK_LABEL: mark, CLI_LABEL: version}
    return replace(service, definition=json.dumps(definition, sort_keys=True), secret_files=files)


def _live(layout: Layout, slot: str) -> dict[str, str]:
    place = layout.run / f"{slot}.doppler"
    return {name: (read_bytes(place / name) or b"").decode(errors="replace") for name in (MARK, SEALED)}


def only_secrets(wish: Wish, layout: Layout) -> Wish:
    """What serves now, with the secrets of `wish`: its images, settings and services are left for a deployment."""
    now = read_deployed(layout)
    if now is None:
        raise DeployError(f"{wish.project} has never been deployed here; run the playbook deploy first")
    services = []
    for old in now.wish.services:
        new = wish.service(old.name)
        if new is None or _way(new) != _way(old):
            raise DeployError(
                f"the document no longer gives {old.name} its secrets in the way it serves with; "
                "run the playbook deploy"
            )
        services.append(_rotated(old, new))
    return replace(now.wish, services=tuple(services))


def _way(service: ServiceWish) -> tuple[bool, bool]:
    """Whether it has secrets in a file, and whether it has some from Doppler."""
    return bool(service.secrets_env), bool(service.secret_files)


def _rotated(old: ServiceWish, new: ServiceWish) -> ServiceWish:
    definition, wanted = json.loads(old.definition), json.loads(new.definition)
    for label in (MARK_LABEL, CLI_LABEL):
        if label in wanted.get("labels", {}):
            definition["labels"][label] = wanted["labels"][label]
    told = json.dumps(definition, sort_keys=True)
    return replace(old, definition=told, secrets_env=new.secrets_env, secret_files=new.secret_files)


def sealed_values(services: Iterable[ServiceWish], layout: Layout, run: Run = run_cli, cli: str = CLI) -> list[str]:
    """All values in the sealed files of services, for who has to hide them."""
    key = read_key(layout)
    if key is None:
        return []
    doppler, values = Doppler(key, layout.run, run, cli), {}
    for service in services:
        content = service.secret_files.get(SEALED, "")
        if content and content not in values:
            values[content] = list(doppler.open(service.name, content.encode()).values())
    return [value for found in values.values() for value in found]
