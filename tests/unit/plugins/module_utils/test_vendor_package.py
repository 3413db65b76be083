"""A vendor's package: a key that is the right one, a source that may give one package only, a version that stays."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils import _vendor_package as vp
from ansible_collections.sapflux.hosting.plugins.module_utils._programs import Ran
from ansible_collections.sapflux.hosting.plugins.modules import vendor_package

KEY = b"\x99\x02\x0d a key"
URI = "https://pkgs.vendor.test/stable/debian"
WISH = {
    "name": "tool", "uri": URI, "suite": "trixie", "components": ["main"], "key_url": f"{URI}/trixie.noarmor.gpg",
    "key_sha256": hashlib.sha256(KEY).hexdigest(),
}  # fmt: skip


class Host:
    """A host with dpkg, apt and systemd that are not there. `calls` are the programs that were run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.installed = ""
        self.status = "installed"
        self.offered = ["1.2.0", "1.1.0"]
        self.served = KEY
        self.downloads: list[str] = []
        self.calls: list[list[str]] = []
        self.states: list[str] = []
        self.update_answer = Ran(0, "", "")
        self.install_answer = Ran(0, "", "")
        self.said = ""
        (root / "etc/apt/sources.list.d").mkdir(parents=True)
        (root / "var/lib/apt/lists").mkdir(parents=True)

    def run(self, argv: list[str], _stdin: str, timeout: float) -> Ran:
        assert timeout > 0
        self.calls.append(argv)
        if argv[0] == "dpkg-query":
            if not self.installed:
                return Ran(1, "", "dpkg-query: no packages found matching tool")
            short = "Version" not in argv[2]
            return Ran(0, self.status if short else f"{self.status} {self.installed}", "")
        if argv[0] == "systemctl":
            return Ran(0, (self.states.pop(0) if self.states else "inactive") + "\n", "")
        if argv[0] == "apt-cache":
            return Ran(
                0, "".join(f"tool | {version} | {URI} trixie/main amd64 Packages\n" for version in self.offered), ""
            )
        if argv[0] == "systemd-run":
            if self.said:
                (self.root / "run/sapflux-install-tool.log").write_text(self.said)
            if self.install_answer.code == 0:
                self.installed = argv[-1].partition("=")[2] or self.offered[0]
                self.status = "installed"
            return self.install_answer
        assert argv[0] == "apt-get"
        if "update" in argv:
            return self.update_answer
        assert argv[-2:] == ["purge", "tool"]
        self.installed = ""
        return Ran(0, "", "")

    def fetch(self, url: str) -> bytes:
        self.downloads.append(url)
        return self.served

    def package(self, check: bool = False, **changes: Any) -> vp.Package:
        wish = vp.parse_wish({"state": "present", **WISH, **changes})
        return vp.Package(wish, check, self.root, self.run, self.fetch, lambda _seconds: None)

    def present(self, check: bool = False, **changes: Any) -> vp.Outcome:
        return self.package(check, **changes).present()

    def ran(self, program: str) -> list[list[str]]:
        return [call for call in self.calls if call[0] == program]

    def files(self) -> dict[str, bytes]:
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_first_install(host: Host) -> None:
    done = host.present()
    assert done.version == "1.2.0"
    assert done.actions[-2:] == ["install tool", "keep other packages of it away"]
    source = host.files()["etc/apt/sources.list.d/sapflux-tool.sources"].decode()
    assert source.splitlines()[1:] == [
        "Types: deb", f"URIs: {URI}", "Suites: trixie", "Components: main",
        "Signed-By: /etc/apt/keyrings/sapflux-tool.gpg",
    ]  # fmt: skip
    assert host.files()["etc/apt/keyrings/sapflux-tool.gpg"] == KEY
    pin = host.files()["etc/apt/preferences.d/sapflux-tool"].decode()
    assert 'Package: *\nPin: origin "pkgs.vendor.test"\nPin-Priority: -1\n' in pin
    assert 'Package: tool\nPin: origin "pkgs.vendor.test"\nPin-Priority: 500\n' in pin
    assert {path.stat().st_mode & 0o777 for path in host.root.rglob("sapflux-tool*") if path.is_file()} == {0o644}
    assert host.ran("systemd-run")[0][-3:] == ["--allow-change-held-packages", "install", "tool"]
    assert "--option=Dir::Etc::SourceParts=/dev/null" not in host.ran("apt-get")[0]


def test_a_second_run_asks_little_and_changes_nothing(host: Host) -> None:
    host.present(version="1.2.0")
    host.calls.clear()
    host.downloads.clear()
    before = host.files()
    assert host.present(version="1.2.0").actions == []
    assert [call[0] for call in host.calls] == ["systemctl", "dpkg-query", "dpkg-query"]
    assert host.downloads == []
    assert host.files() == before


def test_without_a_version_what_is_there_is_good_enough(host: Host) -> None:
    host.present()
    host.installed = "1.1.0"
    assert host.present().actions == []


@pytest.mark.parametrize(("have", "want"), [("1.1.0", "1.2.0"), ("1.2.0", "1.1.0")])
def test_a_version_is_reached_from_both_sides_and_kept(host: Host, have: str, want: str) -> None:
    host.present(version=have)
    done = host.present(version=want)
    assert done.actions == [
        f"replace tool {have} by {want}",
        f"keep other packages of it away, and keep tool at {want}",
    ]
    assert host.ran("systemd-run")[-1][-1] == f"tool={want}"
    assert "--allow-downgrades" in host.ran("systemd-run")[-1]
    pin = host.files()["etc/apt/preferences.d/sapflux-tool"].decode()
    assert f"Package: tool\nPin: version {want}\nPin-Priority: 1001\n" in pin
    # The list of the one repository is read again, and nobody else's.
    assert "--option=Dir::Etc::SourceList=/etc/apt/sources.list.d/sapflux-tool.sources" in host.ran("apt-get")[-1]


def test_a_version_that_is_not_there_is_refused_before_anything_is_replaced(host: Host) -> None:
    host.present(version="1.1.0")
    pin = host.files()["etc/apt/preferences.d/sapflux-tool"]
    with pytest.raises(vp.VendorError, match=r"has no tool 9\.9 \(it has 1\.2\.0, 1\.1\.0\)"):
        host.present(version="9.9")
    assert host.installed == "1.1.0"
    assert len(host.ran("systemd-run")) == 1
    assert host.files()["etc/apt/preferences.d/sapflux-tool"] == pin


def test_a_wrong_key_changes_nothing(host: Host) -> None:
    host.served = b"another key"
    with pytest.raises(vp.VendorError, match="so it was not installed; find out from its vendor") as refused:
        host.present()
    assert hashlib.sha256(b"another key").hexdigest() in str(refused.value)
    assert host.files() == {}
    assert host.ran("apt-get") == []


def test_a_key_that_was_exchanged_on_the_host_is_put_back(host: Host) -> None:
    host.present()
    (host.root / "etc/apt/keyrings/sapflux-tool.gpg").write_bytes(b"a stranger's")
    assert host.present().actions == [f"trust the key {WISH['key_sha256'][:16]} for it alone"]
    assert host.files()["etc/apt/keyrings/sapflux-tool.gpg"] == KEY


def test_files_that_others_can_write_are_mended(host: Host) -> None:
    host.present()
    (host.root / "etc/apt/preferences.d/sapflux-tool").chmod(0o666)
    assert host.present().actions == ["keep other packages of it away"]
    assert host.present().actions == []


@pytest.mark.parametrize("changes", [{}, {"version": "1.1.0"}])
def test_check_mode_writes_and_downloads_nothing(host: Host, changes: dict[str, Any]) -> None:
    planned = host.present(check=True, **changes)
    assert host.files() == {}
    assert host.downloads == []
    assert {call[0] for call in host.calls} == {"dpkg-query"}
    assert host.present(**changes).actions == planned.actions


def test_a_half_installed_package_is_installed_again(host: Host) -> None:
    host.installed, host.status = "1.2.0", "half-configured"
    assert "install tool" in host.present().actions


def test_lists_of_others_are_read_once_a_day(host: Host) -> None:
    lists = host.root / "var/lib/apt/lists"
    (lists / "archive.example.org_trixie_main_binary-amd64_Packages.lz4").write_text("")
    host.present()
    assert "--option=Dir::Etc::SourceParts=/dev/null" in host.ran("apt-get")[0]
    old = time.time() - 2 * vp.DAY
    os.utime(lists / "archive.example.org_trixie_main_binary-amd64_Packages.lz4", (old, old))
    os.utime(lists, (old, old))
    host.installed = ""
    host.present()
    assert "--option=Dir::Etc::SourceParts=/dev/null" not in host.ran("apt-get")[1]


def test_what_apt_says_is_passed_on(host: Host) -> None:
    host.update_answer = Ran(100, "", "W: x\nE: The repository is not signed.\nE: The repository is not signed.\n")
    with pytest.raises(vp.VendorError, match=f"apt cannot read {URI}: The repository is not signed.; see"):
        host.present()
    host.update_answer = Ran(0, "", "")
    host.said = "Reading package lists...\nE: Unable to correct problems, you have held broken packages.\n"
    host.install_answer = Ran(100, "", "")
    (host.root / "run").mkdir()
    with pytest.raises(vp.VendorError, match="tool cannot be installed: Unable to correct problems"):
        host.present()


def test_apt_runs_under_systemd_and_a_run_that_was_cut_off_is_waited_for(host: Host) -> None:
    host.present()
    assert host.ran("systemd-run")[0][:4] == [
        "systemd-run", "--quiet", "--wait", "--unit=sapflux-install-tool.service",
    ]  # fmt: skip
    host.states = ["activating", "active", "inactive"]
    host.calls.clear()
    host.present()
    assert [call[0] for call in host.calls[:4]] == ["systemctl", "systemctl", "systemctl", "dpkg-query"]


@pytest.mark.parametrize("text", [f"deb [signed-by=/x] {URI} trixie main", f"Types: deb\nURIs: {URI}/\nSuites: trixie"])
def test_a_second_source_for_the_same_repository_is_named(host: Host, text: str) -> None:
    suffix = "list" if text.startswith("deb") else "sources"
    (host.root / f"etc/apt/sources.list.d/vendor.{suffix}").write_text(text)
    with pytest.raises(vp.VendorError, match=f"sources.list.d/vendor.{suffix} names {URI} as well; remove it first"):
        host.present()
    assert len(host.files()) == 1


def test_absent_purges_and_forgets(host: Host) -> None:
    host.present(version="1.2.0")
    planned = host.package(check=True).absent()
    assert host.installed
    done = host.package().absent()
    assert done.actions == planned.actions
    assert done.actions[0] == "purge tool"
    assert host.files() == {}
    assert host.package().absent().actions == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Tool!"}, "is no package name"),
        ({"version": "latest"}, "'latest' is no version of tool"),
        ({"uri": "pkgs.vendor.test"}, "the uri 'pkgs.vendor.test' of tool is no URL"),
        ({"uri": "https://a.test/x\nSigned-By: y"}, "is no URL"),
        ({"key_url": "file:///etc/passwd"}, "the key_url 'file:///etc/passwd' of tool is no URL"),
        ({"key_sha256": "abc"}, "must be 64 hexadecimal digits"),
        ({"suite": "trixie main\nTrusted: yes"}, "are single words"),
        ({"components": ["main", "a b"]}, "are single words"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(vp.VendorError, match=message):
        vp.parse_wish({"state": "present", **WISH, **changes})


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(vp.VendorError, match=r"the key http://127\.0\.0\.1:9/key cannot be had: .*; see whether"):
        vp.fetch("http://127.0.0.1:9/key", (0, 0))


def test_documentation_and_arguments_agree() -> None:
    documented = yaml.safe_load(vendor_package.DOCUMENTATION)["options"]
    assert list(documented) == list(vendor_package.ARGUMENT_SPEC)
    for name, spec in vendor_package.ARGUMENT_SPEC.items():
        for key in ("type", "default", "choices", "elements"):
            assert documented[name].get(key) == spec.get(key), (name, key)
