# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can be said about a document ``site`` (private to this collection).

``validate`` needs the document only; ``validate_secrets`` and ``validate_files`` look at the controller as well. None
of them touches a host, and all of them report everything they find.
"""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _site_formats as fmt
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_rules as rules
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_rules_cloudflare as cloudflare_rules
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_rules_edge as edge_rules
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_rules_hetzner as hetzner_rules
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_rules_kuma as kuma_rules
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_rules_services as service_rules
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import derive
from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import (
    Checker,
    Problem,
    load_schema,
    plain,
)

RULES = (
    rules.formats,
    rules.unique,
    rules.artifacts,
    rules.databases,
    rules.must_be_reference,
    rules.encryption,
    rules.lockdown,
    hetzner_rules.hetzner,
    cloudflare_rules.cloudflare,
    edge_rules.certificates,
    edge_rules.origin_pulls,
    service_rules.hosts,
    service_rules.deploys,
    service_rules.environment,
    service_rules.routes,
    service_rules.memory,
    service_rules.production,
    service_rules.doppler,
    service_rules.clerk,
    kuma_rules.kuma,
)


def is_secret(path: str) -> bool:
    """Whether a value at ``path`` must not be shown, judged by its place in the document."""
    names = "password|secret_access_key|auth_key|encryption_key|private_key|ping_key|api_key|(?:api_|origin_)?token"
    if re.search(rf"\.(?:{names})$|\.tokens\[\d+\]\.value$|\.secrets\.(?!file$|provider$)", path):
        return True
    found = re.search(r"\.env\.([^.]+)$", path)
    return bool(found and service_rules.secret_looking(found[1]))


def usable_parts(document: Any) -> tuple[dict[str, Any], list[Problem]]:
    """The part of a document whose shape is right, defaults applied, and the problems of the rest."""
    checker = Checker(load_schema())
    usable = checker.check(plain(document))
    return derive(usable), checker.problems


def validate(document: Any) -> list[Problem]:
    """Every problem that shows from the document alone, in the order of its keys. An empty list means it is good."""
    usable, problems = usable_parts(document)
    add = rules.report(problems, is_secret)
    for rule in RULES:
        rule(usable, add)
    return tidy(problems)


def validate_secrets(
    document: Any, secrets: Mapping[str, str], made: Collection[str] = (), *, before: bool = True
) -> list[Problem]:
    """Problems with the values behind the references. Messages hold names, never values.

    ``made`` are names that ``clouds.yml`` puts into the store: ``before`` that it is in order without them.
    """
    if before:
        secrets = {**dict.fromkeys(made, "made-later"), **secrets}
    usable, _shape = usable_parts(document)
    problems: list[Problem] = []
    add = rules.report(problems, is_secret)
    rules.references_exist(usable, dict(secrets), add, made)
    service_rules.production_secrets(usable, dict(secrets), add)
    service_rules.clerk_secrets(usable, dict(secrets), add)
    return tidy(problems)


def validate_files(document: Any) -> tuple[list[Problem], list[str]]:
    """Programs that come from this machine: are they there, and are they the ones that were meant.

    Answers (problems, files read).
    """
    usable, _shape = usable_parts(document)
    problems: list[Problem] = []
    read: list[str] = []
    add = rules.report(problems, is_secret)
    for path, program in rules.select(usable, "artifacts"):
        for name, pin in program.items():
            file = pin.get("file") if isinstance(pin, dict) else None
            if file is None or fmt.absolute_path(file):
                continue
            below = f"{path}.{name}"
            try:
                digest = _sha256_of(pathlib.Path(file))
            except OSError as error:
                add(
                    f"{below}.file",
                    file,
                    f"cannot be read ({(error.strerror or 'unknown error').lower()})",
                    "build or download it, or write url",
                )
                continue
            read.append(file)
            wanted = pin.get("sha256")
            if wanted and not fmt.sha256(wanted) and digest != wanted:
                add(f"{below}.sha256", wanted, f"is not the digest of {file}", f"its digest is {digest}")
    return problems, read


def _sha256_of(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tidy(problems: list[Problem]) -> list[Problem]:
    """Without doubles, by place in the document: keys in the order of the schema, items in theirs."""
    order = list(load_schema().options or {})

    def place(problem: Problem) -> tuple[int, list[tuple[str, int]]]:
        parts = re.findall(r"([^.\[\]]+)|\[(\d+)\]", problem.path)[1:]
        first = parts[0][0] if parts else ""
        return (order.index(first) if first in order else -1, [(word, int(number or 0)) for word, number in parts])

    return sorted(dict.fromkeys(problems), key=place)
