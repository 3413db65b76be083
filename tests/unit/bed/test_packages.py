"""The packages and the index files of the bed's apt repository."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.bed import artifacts, hosts, openpgp, packages
from tests.bed.shell import BedError

CONTENTS = packages.contents(b"client", b"daemon")
KEY = openpgp.Key(bytes(range(32)), 1_700_000_000, "Test <test@example.org>")


def members(deb: bytes) -> dict[str, bytes]:
    """Take an ar archive apart as dpkg does: 60 bytes of head, the content, one byte of padding where odd."""
    assert deb.startswith(b"!<arch>\n")
    found, place = {}, 8
    while place < len(deb):
        head = deb[place : place + 60].decode()
        assert head.endswith("`\n")
        size = int(head[48:58])
        found[head[:16].strip()] = deb[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    return found


def unpacked(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {entry.name: entry for entry in archive}


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return packages.debs(CONTENTS, ("1.2.3", "1.2.3+1"))


def test_a_package_has_the_three_members_dpkg_wants_in_order(made: dict[str, bytes]) -> None:
    parts = members(made["1.2.3"])
    assert list(parts) == ["debian-binary", "control.tar.gz", "data.tar.gz"]
    assert parts["debian-binary"] == b"2.0\n"


def test_it_installs_the_layout_of_the_vendor(made: dict[str, bytes]) -> None:
    files = unpacked(members(made["1.2.3"])["data.tar.gz"])
    modes = {name: entry.mode for name, entry in files.items() if entry.isfile()}
    units = ("tailscaled.service", "tailscale-wait-online.service", "tailscale-online.target")
    assert modes == {
        "./usr/bin/tailscale": 0o755,
        "./usr/sbin/tailscaled": 0o755,
        "./etc/default/tailscaled": 0o644,
        **{f"./usr/lib/systemd/system/{unit}": 0o644 for unit in units},
    }
    assert all(entry.uid == entry.gid == entry.mtime == 0 for entry in files.values())
    assert list(files).index("./usr") < list(files).index("./usr/bin") < list(files).index("./usr/bin/tailscale")


def test_settings_are_a_conffile_and_scripts_are_executable(made: dict[str, bytes]) -> None:
    data = members(made["1.2.3"])["control.tar.gz"]
    modes = {name: entry.mode for name, entry in unpacked(data).items() if entry.isfile()}
    assert modes == {
        "./control": 0o644,
        "./md5sums": 0o644,
        "./conffiles": 0o644,
        "./postinst": 0o755,
        "./prerm": 0o755,
        "./postrm": 0o755,
    }
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        listed = archive.extractfile("./conffiles")
        assert listed is not None
        assert listed.read() == b"/etc/default/tailscaled\n"


def test_versions_differ_in_their_control_data_alone(made: dict[str, bytes]) -> None:
    one, two = (members(deb) for deb in made.values())
    assert one["data.tar.gz"] == two["data.tar.gz"]
    assert one["control.tar.gz"] != two["control.tar.gz"]
    assert made == packages.debs(CONTENTS, ("1.2.3", "1.2.3+1")), "the same input gives the same bytes"


@pytest.mark.parametrize("script", [packages.POSTINST, packages.PRERM, packages.POSTRM])
def test_maintainer_scripts_are_valid_shell(script: str, tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(script)
    subprocess.run(["sh", "-n", str(path)], check=True)
    subprocess.run(["sh", str(path), "upgrade"], check=True)


def test_the_entry_of_a_package_names_its_bytes() -> None:
    entry = packages.stanza("1.2.3", b"deb", 7)
    assert entry.startswith("Package: tailscale\nVersion: 1.2.3\n")
    assert f"Filename: pool/tailscale_1.2.3_{packages.ARCHITECTURE}.deb\nSize: 3\n" in entry
    assert entry.endswith(f"SHA256: {hashlib.sha256(b'deb').hexdigest()}\n")
    assert "\n\n" not in entry


def test_a_track_is_complete_and_its_digests_hold() -> None:
    entries = [packages.stanza(version, version.encode(), 7) for version in ("1", "2")]
    files = packages.suite("web", entries, KEY, 1_700_000_000)
    dists = "web/debian/dists/trixie"
    index = f"main/binary-{packages.ARCHITECTURE}/Packages"
    assert set(files) == {
        f"{dists}/{index}",
        f"{dists}/{index}.gz",
        f"{dists}/Release",
        f"{dists}/InRelease",
        "web/debian/trixie.noarmor.gpg",
        "web/debian/pool",
    }
    assert files["web/debian/pool"].link == "../../.pool"
    text = files[f"{dists}/{index}"].content.decode()
    assert text.split("\n\n") == [entries[0].rstrip("\n"), entries[1]], "a blank line between entries"
    assert gzip.decompress(files[f"{dists}/{index}.gz"].content).decode() == text
    release = files[f"{dists}/Release"].content.decode()
    assert "Date: Tue, 14 Nov 2023 22:13:20 GMT\n" in release
    for sha256, size, path in re.findall(r"^ ([0-9a-f]{64}) (\d+) (\S+)$", release, re.MULTILINE):
        content = files[f"{dists}/{path}"].content
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (sha256, int(size))
    signed = files[f"{dists}/InRelease"].content.decode()
    assert release in signed
    assert signed.startswith("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Tailscale\n")


def test_the_source_is_addressed_by_name() -> None:
    assert packages.url() == "http://pkgs.sapflux.test/stable/debian"
    assert packages.key_url("web") == "http://pkgs.sapflux.test/web/debian/trixie.noarmor.gpg"


def test_versions_follow_the_pinned_program() -> None:
    folder = artifacts.ROOT / "artifacts" / "tailscale"
    assert packages.current() == artifacts.module_version(folder, "tailscale.com")
    assert packages.newer() == f"{packages.current()}+1"


@pytest.mark.parametrize("track", ["stable", "../x", "", "Web", ".pool", "a b"])
def test_only_a_track_of_ones_own_can_be_changed(track: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "execute", lambda *_, **__: pytest.fail("nothing may be changed"))
    monkeypatch.setattr(packages, "repository", lambda: pytest.fail("nothing may be started"))
    with pytest.raises(BedError, match="a track is named after the host whose test it serves"):
        packages.publish(track, packages.current())
    with pytest.raises(BedError, match="a track is named after the host whose test it serves"):
        packages.withdraw(track)


def test_an_unknown_version_names_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "repository", lambda: pytest.fail("nothing may be started"))
    with pytest.raises(BedError, match=r"no package has the version 9\.9: there are .* and .*\+1"):
        packages.publish("web", packages.current(), "9.9")
