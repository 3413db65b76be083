#!/usr/bin/python3 -ISB
"""certificate DATA NAME...: the server's own TLS certificate for those names and addresses, renewed before it ends.

A certificate authority of this host signs it: clients trust ``ca.crt`` once, and notice nothing of a renewal. Run at
every start of the server and once a day; the server is told when something changed. Prints what was done.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import tempfile

HOME = "/etc/postgresql/tls"
OPENSSL = "/usr/bin/openssl"
CA_DAYS, DAYS, RENEW_DAYS = 3650, 90, 30


def openssl(*arguments: str) -> str:
    done = subprocess.run([OPENSSL, *arguments], capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise SystemExit(f"openssl {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def alternative_names(names: list[str]) -> str:
    """Names and addresses -> the value of the extension."""
    kinds = []
    for name in names:
        try:
            kinds.append(f"IP:{ipaddress.ip_address(name)}")
        except ValueError:
            kinds.append(f"DNS:{name}")
    return ",".join(kinds)


def is_good(path: str, wanted: str) -> bool:
    """Whether a certificate is signed by our authority, is for those names, and does not end soon."""
    if not os.path.exists(path):
        return False
    for arguments in (
        ["x509", "-in", path, "-noout", "-checkend", str(RENEW_DAYS * 86400)],
        ["verify", "-CAfile", f"{HOME}/ca.crt", path],
    ):
        if subprocess.run([OPENSSL, *arguments], capture_output=True, check=False).returncode != 0:
            return False
    shown = openssl("x509", "-in", path, "-noout", "-ext", "subjectAltName").replace("IP Address:", "IP:")
    return sorted(part.strip() for part in shown.splitlines()[-1].split(",")) == sorted(wanted.split(","))


def install(source: str, name: str, mode: int) -> None:
    """Puts a file in its place as a whole, readable by PostgreSQL where it must be."""
    target = os.path.join(HOME, name)
    os.chmod(source, mode)
    shutil.chown(source, "root", "root" if name == "ca.key" else "postgres")
    os.replace(source, target)


def make_authority(work: str) -> None:
    key, certificate = f"{work}/ca.key", f"{work}/ca.crt"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    subject = ["-subj", f"/CN=PostgreSQL on {os.uname().nodename}", "-addext", "keyUsage=critical,keyCertSign"]
    openssl("req", "-x509", "-new", "-key", key, "-days", str(CA_DAYS), *subject, "-out", certificate)
    install(key, "ca.key", 0o600)
    install(certificate, "ca.crt", 0o644)


def make_certificate(work: str, wanted: str) -> None:
    key, request, certificate = f"{work}/server.key", f"{work}/server.csr", f"{work}/server.crt"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", "/CN=postgresql", "-out", request)
    extensions = f"{work}/extensions"
    with open(extensions, "w", encoding="utf-8") as file:
        file.write(f"subjectAltName={wanted}\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:false\n")
    authority = ["-CA", f"{HOME}/ca.crt", "-CAkey", f"{HOME}/ca.key", "-extfile", extensions]
    openssl("x509", "-req", "-in", request, "-days", str(DAYS), *authority, "-out", certificate)
    install(key, "server.key", 0o640)
    install(certificate, "server.crt", 0o644)


def tell(data: str) -> None:
    """Has a running server read its certificate again."""
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="utf-8") as file:
            os.kill(int(file.readline()), signal.SIGHUP)
    except (OSError, ValueError):
        return


def main(data: str, *names: str) -> int:
    os.umask(0o077)
    wanted = alternative_names(["localhost", os.uname().nodename, *names])
    with tempfile.TemporaryDirectory(dir=HOME, prefix=".new-") as work:
        if not (os.path.exists(f"{HOME}/ca.crt") and os.path.exists(f"{HOME}/ca.key")):
            make_authority(work)
        if is_good(f"{HOME}/server.crt", wanted):
            print("the certificate is good")
            return 0
        make_certificate(work, wanted)
    tell(data)
    print(f"made a certificate for {wanted}, good for {DAYS} days")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
