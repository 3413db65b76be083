# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a list of Cloudflare's networks on the controller. Documented in plugins/modules/cloudflare_ip_ranges.py."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare_ips import CIDRS
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare_ranges import (
    PAUSES,
    URL,
    RangesError,
    fetch,
    implausible,
    render,
    stored,
)

SPEC = {
    "path": {"type": "path", "required": True},
    "variable": {"type": "str", "default": "cloudflare_cidrs"},
    "url": {"type": "str", "default": URL},
    "pauses": {"type": "list", "elements": "float", "default": list(PAUSES)},
}


def shadowed(path: pathlib.Path) -> pathlib.Path | None:
    """Return the variables file that would no longer be read if the folder of `path` were made, or None.

    Ansible reads `group_vars/all` or `group_vars/all.yml`, whichever it finds first, never both.
    """
    if path.parent.exists():
        return None
    beside = (path.parent.with_name(path.parent.name + suffix) for suffix in (".yml", ".yaml", ".json"))
    return next((file for file in beside if file.exists()), None)


def write(path: pathlib.Path, text: str) -> None:
    """Put the file in place in one step: whoever reads it finds the old list or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as handle:
        try:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
            os.fchmod(handle.fileno(), 0o644)
            pathlib.Path(handle.name).replace(path)
        except OSError:
            pathlib.Path(handle.name).unlink()
            raise


def said(added: Sequence[str], removed: Sequence[str]) -> str:
    """Tell what changed in one line."""
    parts = [f"{verb} {', '.join(cidrs)}" for verb, cidrs in (("added", added), ("removed", removed)) if cidrs]
    return "; ".join(parts) or "the list is current"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Makes no remote call."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Answer with the list and what changed, or raise ``AnsibleActionFail`` with every reason against it."""
        super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(argument_spec=SPEC)
        path = pathlib.Path(args["path"])
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        try:
            hidden = shadowed(path)
            if hidden:
                raise RangesError(
                    f"making {path.parent} would hide {hidden} from Ansible; move that file to {path.parent}/site.yml"
                )
            old = stored(before, args["variable"], str(path)) if before else list(CIDRS)
            new = fetch(args["url"], args["pauses"])
        except RangesError as error:
            raise AnsibleActionFail(str(error)) from error
        reasons = implausible(old, new)
        if reasons:
            raise AnsibleActionFail(
                f"The list of {args['url']} is not believed, and the old one stays in use: {'; '.join(reasons)}. "
                f"Compare with https://www.cloudflare.com/ips; if it is right, write it to {path} yourself."
            )
        added, removed = [cidr for cidr in new if cidr not in old], [cidr for cidr in old if cidr not in new]
        changed = bool(added or removed)
        after = render(args["variable"], new, args["url"]) if changed else before
        if changed and not self._task.check_mode:
            write(path, after)
        return {
            "changed": changed,
            "msg": said(added, removed),
            "cidrs": new,
            "added": added,
            "removed": removed,
            "diff": {"before": before, "after": after, "before_header": str(path), "after_header": str(path)},
        }
