"""The builder of pinned programs, driven with a fake ``go`` that records its calls."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bed import artifacts
from tests.bed.artifacts import ArtifactError, Builder, Program

MODULE = "example.org/thing"
# Build writes the program's main.go plus the contents of $FAKE/extra, so that a test decides the bytes.
FAKE_GO = """#!/bin/sh
echo "$*" >> "$FAKE/calls"
case "$1 $2" in
"env -json") printf '{"GOVERSION": "%s", "GOOS": "linux", "GOARCH": "amd64"}' "$(cat "$FAKE/goversion")" ;;
"mod download")
  if test -s "$FAKE/bad_downloads"; then
    sed -i 1d "$FAKE/bad_downloads"; echo "proxy: 502 Bad Gateway" >&2; exit 1
  fi ;;
*)
  while test "$1" != -o; do shift; done
  if test -e "$FAKE/hold"; then while test ! -e "$FAKE/release"; do sleep 0.02; done; fi
  if test -e "$FAKE/broken"; then echo half > "$2"; echo "main.go:3: undefined: x" >&2; exit 2; fi
  test ! -e "$FAKE/silent" || exit 0
  cat main.go > "$2"; test ! -e "$FAKE/unstable" || pwd >> "$2" ;;
esac
"""


class Bed:
    """A throwaway module, an empty cache and a fake ``go``; ``said`` holds the progress lines."""

    def __init__(self, root: Path) -> None:
        self.fake = root / "fake"
        self.module = root / "modules" / "thing"
        self.cache = root / "cache"
        self.said: list[str] = []
        self.pauses: list[float] = []
        for folder in (self.fake, self.module):
            folder.mkdir(parents=True)
        (self.fake / "goversion").write_text("go1.26.8")
        (self.fake / "go").write_text(FAKE_GO)
        (self.fake / "go").chmod(0o755)
        (self.module / "go.mod").write_text(f"module test\n\ngo 1.26\n\nrequire {MODULE} v1.2.3 // indirect\n")
        (self.module / "main.go").write_text("package main\n\nfunc main() {}\n")

    def builder(self, search: str | None = None) -> Builder:
        return Builder(
            self.module.parent,
            self.cache,
            {"thing": Program("thing", MODULE)},
            self.said.append,
            self.pauses.append,
            search or str(self.fake),
        )

    def calls(self, verb: str) -> int:
        log = self.fake / "calls"
        return sum(line.startswith(verb) for line in log.read_text().splitlines()) if log.exists() else 0

    def leftovers(self) -> list[str]:
        """Everything in the cache but the lock."""
        return sorted(
            str(path.relative_to(self.cache))
            for path in self.cache.rglob("*")
            if path.is_file() and path.name != ".lock"
        )


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    bed = Bed(tmp_path)
    monkeypatch.setenv("FAKE", str(bed.fake))
    return bed


def test_a_program_is_built_into_its_key(bed: Bed) -> None:
    built = bed.builder().artifact("thing")
    assert built.path.read_text() == (bed.module / "main.go").read_text()
    assert built.sha256 == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert built.version == "1.2.3"
    key = built.path.parent.name
    assert bed.leftovers() == [f"thing/{key}/thing", f"thing/{key}/thing.json"]
    assert any(line.startswith("thing: built 1.2.3 in ") for line in bed.said)


def test_a_hit_does_not_build_or_download(bed: Bed) -> None:
    first = bed.builder().artifact("thing")
    assert bed.builder().artifact("thing") == first
    assert (bed.calls("build"), bed.calls("mod download")) == (1, 1)


def test_force_builds_again(bed: Bed) -> None:
    first = bed.builder().artifact("thing")
    assert bed.builder().artifact("thing", force=True) == first
    assert bed.calls("build") == 2


def test_the_build_is_pure_go_and_free_of_paths(bed: Bed) -> None:
    bed.builder().artifact("thing")
    line = next(line for line in (bed.fake / "calls").read_text().splitlines() if line.startswith("build"))
    assert line.startswith("build -trimpath -buildvcs=false -ldflags=-s -w -buildid= -o ")


def change_source(bed: Bed) -> None:
    (bed.module / "main.go").write_text("package main\n\nfunc main() { }\n")


def change_pins(bed: Bed) -> None:
    (bed.module / "go.sum").write_text("example.org/thing v1.2.3 h1:x\n")


def change_toolchain(bed: Bed) -> None:
    (bed.fake / "goversion").write_text("go1.27.3")


@pytest.mark.parametrize("change", [change_source, change_pins, change_toolchain])
def test_the_key_follows_what_decides_the_bytes(bed: Bed, change: Callable[[Bed], None]) -> None:
    before = bed.builder().artifact("thing").path
    change(bed)
    after = bed.builder().artifact("thing").path
    assert before != after
    assert before.exists()
    assert bed.calls("build") == 2


def test_a_moved_module_keeps_its_key(bed: Bed, tmp_path: Path) -> None:
    target = {"GOVERSION": "go1.26.8"}
    before = artifacts.content_key(bed.module, ".", target)
    assert before == artifacts.content_key(bed.module.rename(tmp_path / "moved"), ".", target)


def test_a_damaged_file_is_built_anew(bed: Bed) -> None:
    first = bed.builder().artifact("thing")
    first.path.write_text("cut")
    assert bed.builder().artifact("thing") == first
    assert first.path.read_text() == (bed.module / "main.go").read_text()


def test_parallel_callers_build_once(bed: Bed) -> None:
    (bed.fake / "hold").touch()
    results: list[artifacts.Artifact] = []
    threads = [threading.Thread(target=lambda: results.append(bed.builder().artifact("thing"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    # Two of the three must be seen waiting before the first may finish.
    deadline = time.monotonic() + 60
    while bed.said.count("thing: waiting for another build of it") < 2:
        assert time.monotonic() < deadline, bed.said
        time.sleep(0.01)
    (bed.fake / "release").touch()
    for thread in threads:
        thread.join(60)
    assert len(results) == 3
    assert len(set(results)) == 1
    assert bed.calls("build") == 1


def test_a_failed_build_leaves_nothing_and_says_what_to_do(bed: Bed) -> None:
    (bed.fake / "broken").touch()
    with pytest.raises(ArtifactError) as failure:
        bed.builder().artifact("thing")
    message = str(failure.value)
    assert message.startswith("thing: building it failed (exit code 2); to see it by itself run `cd ")
    assert "CGO_ENABLED=0" in message
    assert "main.go:3: undefined: x" in message
    assert bed.leftovers() == []
    assert bed.calls("build") == 1, "a build is never tried again"
    (bed.fake / "broken").unlink()
    assert bed.builder().artifact("thing").version == "1.2.3"


def test_a_build_without_a_result_is_an_error(bed: Bed) -> None:
    (bed.fake / "silent").touch()
    with pytest.raises(ArtifactError, match="go build wrote no file"):
        bed.builder().artifact("thing")
    assert bed.leftovers() == []


def test_leavings_of_a_killed_build_are_removed(bed: Bed) -> None:
    stale = bed.cache / "thing" / ".build-dead"
    stale.mkdir(parents=True)
    (stale / "thing").write_text("half")
    bed.builder().artifact("thing")
    assert not stale.exists()


def test_a_download_is_tried_again(bed: Bed) -> None:
    (bed.fake / "bad_downloads").write_text("1\n2\n")
    bed.builder().artifact("thing")
    assert bed.calls("mod download") == 3
    assert bed.pauses == [2.0, 4.0]


def test_a_download_that_keeps_failing_is_named(bed: Bed) -> None:
    (bed.fake / "bad_downloads").write_text("1\n2\n3\n4\n")
    with pytest.raises(
        ArtifactError, match=r"^thing: downloading its modules failed \(exit code 1\).*mod download"
    ) as failure:
        bed.builder().artifact("thing")
    assert "502 Bad Gateway" in str(failure.value)
    assert bed.calls("mod download") == 3
    assert bed.leftovers() == []


def test_the_go_beside_the_interpreter_comes_first(bed: Bed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "go"
    other.parent.mkdir()
    other.symlink_to("/bin/false")
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(bed.fake / "python"))
    assert Builder().search == f"{bed.fake}:{other.parent}:/usr/bin:/bin"
    assert bed.builder(Builder().search).artifact("thing").version == "1.2.3"


def test_no_go_says_how_to_get_it(bed: Bed, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^thing: there is no `go` on the PATH .* run `\./justw setup`"):
        bed.builder(str(tmp_path)).artifact("thing")


def test_an_unknown_program_lists_those_there_are(bed: Bed) -> None:
    with pytest.raises(ArtifactError, match=r"^thong: no such program; there are thing\.$"):
        bed.builder().artifact("thong")


def test_a_module_that_lost_its_requirement_is_named(bed: Bed) -> None:
    (bed.module / "go.mod").write_text("module test\n")
    with pytest.raises(ArtifactError, match=f"go.mod does not require {MODULE}"):
        bed.builder().artifact("thing")


def test_an_unwritable_cache_is_named(bed: Bed) -> None:
    bed.cache.write_text("a file where a folder should be")
    with pytest.raises(ArtifactError, match="set SAPFLUX_CACHE to a writable folder"):
        bed.builder().artifact("thing")


def test_verify_accepts_the_same_bytes(bed: Bed) -> None:
    assert bed.builder().verify("thing") == bed.builder().artifact("thing")
    assert bed.calls("build") == 2


def test_verify_names_both_digests(bed: Bed) -> None:
    (bed.fake / "unstable").touch()
    with pytest.raises(ArtifactError) as failure:
        bed.builder().verify("thing")
    message = str(failure.value)
    assert bed.builder().artifact("thing").sha256 in message
    assert re.search("[0-9a-f]{64} from another directory", message)


def test_the_command_prints_path_and_digest(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(artifacts, "Builder", bed.builder)
    built = bed.builder().artifact("thing")
    assert artifacts.main(["thing"]) == 0
    assert capsys.readouterr().out == f"thing 1.2.3 {built.path} sha256:{built.sha256}\n"


def test_the_command_fails_with_the_error_alone(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(artifacts, "Builder", bed.builder)
    assert artifacts.main(["other"]) == 1
    assert capsys.readouterr().err == "other: no such program; there are thing.\n"


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAPFLUX_CACHE", str(tmp_path))
    assert Builder().cache == tmp_path / "artifacts"


@pytest.mark.parametrize("name", sorted(artifacts.PROGRAMS))
def test_every_program_is_pinned(name: str) -> None:
    program = artifacts.PROGRAMS[name]
    folder = artifacts.ROOT / "artifacts" / (program.folder or name)
    version = artifacts.module_version(folder, program.module)
    assert f"{program.module} v{version} h1:" in (folder / "go.sum").read_text()


def test_a_commit_is_called_by_the_name_of_its_release(bed: Bed) -> None:
    builder = bed.builder()
    builder.programs = {"thing": Program("thing", MODULE, stamps=("main.version",), releases={"1.2.3": "3.66.0"})}
    assert builder.artifact("thing").version == "3.66.0"
    assert "-X main.version=3.66.0" in (bed.fake / "calls").read_text()


def test_a_commit_of_no_known_release_is_refused(bed: Bed) -> None:
    builder = bed.builder()
    builder.programs = {"thing": Program("thing", MODULE, releases={"1.2.2": "3.65.0"})}
    with pytest.raises(ArtifactError, match=r"thing: 1\.2\.3 in .* is no release that is known"):
        builder.artifact("thing")


def test_two_programs_of_one_module_are_kept_apart(bed: Bed) -> None:
    builder = bed.builder()
    builder.programs = {
        name: Program(name, MODULE, f"{MODULE}/cmd/{name}", folder="thing") for name in ("client", "server")
    }
    built = [builder.artifact(name) for name in ("client", "server")]
    assert [one.path.name for one in built] == ["client", "server"]
    assert [one.version for one in built] == ["1.2.3", "1.2.3"]
    assert len({one.path.parent.name for one in built}) == 2
    assert builder.verify("server") == built[1]
    lines = [line for line in (bed.fake / "calls").read_text().splitlines() if line.startswith("build")]
    assert [line.rsplit(" ", 1)[1] for line in lines] == [
        f"{MODULE}/cmd/{name}" for name in ("client", "server", "server")
    ]


def test_a_folder_that_is_missing_is_named(bed: Bed) -> None:
    builder = bed.builder()
    builder.programs = {"client": Program("client", MODULE, folder="elsewhere")}
    with pytest.raises(ArtifactError, match=r"^client: \S+/elsewhere/go\.mod is missing"):
        builder.artifact("client")


def test_a_stamp_carries_the_version_and_decides_the_key(bed: Bed) -> None:
    plain = bed.builder().artifact("thing")
    builder = bed.builder()
    builder.programs = {"thing": Program("thing", MODULE, stamps=("example.org/v.Short", "example.org/v.Long"))}
    assert builder.artifact("thing").path != plain.path
    line = [line for line in (bed.fake / "calls").read_text().splitlines() if line.startswith("build")][-1]
    assert "-ldflags=-s -w -buildid= -X example.org/v.Short=1.2.3 -X example.org/v.Long=1.2.3 -o " in line
