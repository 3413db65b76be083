# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API tokens of Cloudflare: policies from permissions by name, and the value in a file (private to this collection)."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import tempfile
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import TOKEN, Cloudflare, CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change

ACCOUNT = "com.cloudflare.api.account"
ZONE = "com.cloudflare.api.account.zone"
BUCKET = "com.cloudflare.edge.r2.bucket"
Policy = Dict[str, Any]


def home(account: Optional[str]) -> str:
    """Where tokens are: those of an account, or (None) those of the user."""
    return f"/accounts/{account}/tokens" if account else "/user/tokens"


def permission(account: Optional[str], verb: str) -> str:
    """The permission that it takes to work with tokens."""
    return f"{'Account API Tokens' if account else 'API Tokens'} {verb}"


def policies(
    cloud: Cloudflare,
    account: Optional[str],
    permissions: Sequence[str],
    zones: Sequence[str] = (),
    buckets: Sequence[Mapping[str, str]] = (),
) -> List[Policy]:
    """Policies that hold ``permissions`` on these zones and buckets, or on all of the account where none are named.

    The API wants permissions of the account, of zones and of buckets in policies of their own. Raises
    :class:`CloudflareError` where a permission has no such name.
    """
    listed = cloud.result("GET", f"{home(account)}/permission_groups", needs=permission(account, "Read")) or []
    groups = {group["name"]: group for group in listed}
    levels: Dict[str, List[str]] = {}
    for name in sorted(set(permissions)):
        if name not in groups:
            near = difflib.get_close_matches(name, groups, 1)
            hint = f"did you mean {near[0]}?" if near else "what the dashboard calls Edit is Write here"
            raise CloudflareError(f"there is no permission {name}; {hint}")
        levels.setdefault((groups[name].get("scopes") or [""])[0], []).append(groups[name]["id"])
    found = []
    for level, ids in sorted(levels.items()):
        resources = _resources(cloud, level, account, zones, buckets)
        found.append({"effect": "allow", "permission_groups": [{"id": each} for each in ids], "resources": resources})
    return found


def _resources(
    cloud: Cloudflare,
    level: str,
    account: Optional[str],
    zones: Sequence[str],
    buckets: Sequence[Mapping[str, str]],
) -> Dict[str, Any]:
    of_account = f"{ACCOUNT}.{account}" if account else f"{ACCOUNT}.*"
    if level == ZONE:
        if zones:
            return {f"{ZONE}.{cloud.zone(zone)['id']}": "*" for zone in zones}
        return {of_account: {f"{ZONE}.*": "*"}}
    if level == BUCKET:
        if not account:
            raise CloudflareError("permissions on buckets need account_id")
        if buckets:
            return {
                f"{BUCKET}.{account}_{each.get('jurisdiction') or 'default'}_{each['name']}": "*" for each in buckets
            }
        return {of_account: {f"{BUCKET}.*": "*"}}
    if level == ACCOUNT:
        return {of_account: "*"}
    raise CloudflareError(
        f"permissions of {level or 'no known kind'} cannot be given by this module; use the dashboard"
    )


def fingerprint(found: Sequence[Mapping[str, Any]]) -> Set[Tuple[str, Tuple[str, ...], str]]:
    """What policies come to, whatever their order and whatever the API adds."""
    return {
        (
            str(policy.get("effect")),
            tuple(sorted(str(group["id"]) for group in policy.get("permission_groups") or [])),
            json.dumps(policy.get("resources"), sort_keys=True),
        )
        for policy in found
    }


def by_name(cloud: Cloudflare, account: Optional[str], name: str) -> Optional[Dict[str, Any]]:
    """The token of this name, None where there is none. Raises where there is more than one."""
    listed = cloud.pages(home(account), {"include_expired": True}, needs=permission(account, "Read"))
    found = [token for token in listed if token.get("name") == name]
    if len(found) > 1:
        ids = ", ".join(sorted(str(token["id"]) for token in found))
        raise CloudflareError(f"there are {len(found)} tokens with the name {name} ({ids}): remove all but one")
    return found[0] if found else None


def verify(value: str, base: str, account: Optional[str]) -> Optional[Dict[str, Any]]:
    """``{id, status, expires_on?}`` of a token, None where it is not valid there."""
    if not TOKEN.fullmatch(value):
        return None
    try:
        found: Dict[str, Any] = Cloudflare(value, base).result("GET", f"{home(account)}/verify")
    except CloudflareError as error:
        if error.status in (400, 401, 403):
            return None
        raise
    return found


def spare_own(params: Mapping[str, Any], token: Mapping[str, Any], verb: str) -> None:
    """Refuse to saw off the branch: the token that this run itself uses. ``params`` are the options of the module."""
    own = verify(params["api_token"], params["base_url"], params["account_id"])
    if own is not None and own.get("id") == token["id"]:
        raise CloudflareError(
            f"the token {params['name']} is the one that this run uses and cannot be {verb} by itself"
        )


def remove(
    params: Mapping[str, Any],
    cloud: Cloudflare,
    token: Optional[Mapping[str, Any]],
    changes: Sequence[Change],
    check: bool,
) -> List[Change]:
    """Revoke a token and remove the file of its secret, or only say so; ``changes`` are (of the token, of the file).

    Both are looked for: the one may be gone while the other is left.
    """
    made: List[Change] = []
    of_token, of_file = changes
    path, account = params["path"], params["account_id"]
    if token is not None:
        spare_own(params, token, "removed")
        made.append(of_token)
        if not check:
            cloud.result("DELETE", f"{home(account)}/{token['id']}", needs=permission(account, "Write"))
    if path and os.path.exists(path):
        made.append(of_file)
        if not check:
            os.unlink(path)
    return made


def read_value(path: str) -> str:
    """What a file holds, "" where there is none. Raises :class:`CloudflareError` where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CloudflareError(f"{path} cannot be read: {error}") from error


@contextlib.contextmanager
def value_file(path: str) -> Iterator[Any]:
    """A file of mode 0600 that takes the place of ``path`` once it is written; gives a function that takes the value.

    It is made before anything is asked, so that a value which is shown only once never finds its folder missing.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".token-")
    except OSError as error:
        raise CloudflareError(f"{path} cannot be written: {error.strerror}; make its folder first") from error

    def keep(value: str) -> None:
        os.write(handle, f"{value}\n".encode())
        os.fsync(handle)
        os.replace(temporary, path)

    try:
        yield keep
    finally:
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
