# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account Caddy runs as, and the key of the origin certificate, which never leaves the host (private).

Works with what every Debian has: useradd and the openssl command.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import subprocess
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils import _certificates
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError

DAY = 86_400
_NAMES = re.compile(r"DNS:([^,\s]+)")


class HostError(Exception):
    """A step failed; the message is one sentence that names it."""


def run(*argv: str, stdin: str = "") -> str:
    """Run a program and return what it prints. Raises :class:`HostError` with its last line."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed on this host; install the package that has it") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise HostError(f"{' '.join(argv[:3])} failed: {said[-1] if said else 'it said nothing'}")
    return done.stdout


def account(user: str) -> Optional[pwd.struct_passwd]:
    """The account, None where there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def make_account(user: str, home: str) -> None:
    """Make a system account that cannot log in, with a group of its name; its home is not made."""
    run(
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        home,
        "--shell",
        "/usr/sbin/nologin",
        user,
    )


class Origin:
    """Key, request and certificate in ``directory``; readable for ``group``, which is the server's."""

    def __init__(self, directory: str, gid: int) -> None:
        self.directory = directory
        self.gid = gid
        self.key, self.csr, self.certificate = (
            os.path.join(directory, f"origin.{end}") for end in ("key", "csr", "pem")
        )

    def read(self, path: str) -> str:
        """A file's content, "" where there is none."""
        try:
            with open(path, encoding="ascii") as handle:
                return handle.read()
        except FileNotFoundError:
            return ""

    def prepare(self, hostnames: Sequence[str], check: bool) -> List[str]:
        """Make what is missing: key, request, and a certificate signed by the key itself until there is a real one.

        Returns what was made. A key is never made anew: certificates are bound to it.
        """
        made = [name for name in ("key", "csr", "certificate") if not os.path.exists(getattr(self, name))]
        if check or not made:
            return made
        os.makedirs(self.directory, mode=0o750, exist_ok=True)
        os.chown(self.directory, 0, self.gid)
        os.chmod(self.directory, 0o750)  # noqa: S103 - the group is the server's
        if "key" in made:
            curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
            self._write(self.key, run("openssl", "genpkey", *curve), 0o640)
        if made:
            names = ",".join(f"DNS:{name}" for name in hostnames)
            asked = ("-key", self.key, "-subj", "/CN=sapflux origin", "-addext", f"subjectAltName={names}")
            self._write(self.csr, run("openssl", "req", "-new", *asked), 0o644)
            if "certificate" in made:
                self._write(self.certificate, run("openssl", "req", "-x509", "-days", "2", *asked), 0o644)
        return made

    def install(self, pem: str, check: bool) -> bool:
        """Put a signed certificate in its place; whether that changes something. Raises where it is for another key."""
        if self.read(self.certificate) == pem:
            return False
        csr = self.read(self.csr)
        if csr and _certificates.public_key(pem) != _certificates.requested_key(csr):
            raise HostError("the certificate is not for the key of this host; run this again to have that one signed")
        if not check:
            self._write(self.certificate, pem, 0o644)
        return True

    def state(self, hostnames: Sequence[str], renew_days: int) -> Dict[str, Any]:
        """What is there: {csr, sha256, not_after, hostnames, issued, due}; ``due`` says that one must be signed."""
        pem, csr = self.read(self.certificate), self.read(self.csr)
        if not pem:
            return {"csr": csr, "sha256": "", "not_after": "", "hostnames": [], "issued": False, "due": True}
        names, issued = self._look(pem)
        try:
            ends = _certificates.not_after(pem)
        except CloudflareError as error:
            raise HostError(f"{self.certificate} cannot be read: {error}; remove it and run this again") from error
        return {
            "csr": csr,
            "sha256": hashlib.sha256(pem.encode()).hexdigest(),
            "not_after": _certificates.stamp(ends),
            "hostnames": names,
            "issued": issued,
            "due": not issued or names != sorted(hostnames) or ends < time.time() + renew_days * DAY,
        }

    @staticmethod
    def _look(pem: str) -> Tuple[List[str], bool]:
        """(names, whether another key signed it)."""
        shown = run("openssl", "x509", "-noout", "-subject", "-issuer", "-ext", "subjectAltName", stdin=pem)
        ends = dict(line.split("=", 1) for line in shown.splitlines() if line.startswith(("subject=", "issuer=")))
        return sorted(_NAMES.findall(shown)), ends.get("subject") != ends.get("issuer")

    def _write(self, path: str, content: str, mode: int) -> None:
        fresh = f"{path}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as handle:
            handle.write(content)
            os.fchown(handle.fileno(), 0, self.gid)
            os.fchmod(handle.fileno(), mode)
        os.replace(fresh, path)
