"""Build the pinned programs of ``artifacts/`` and keep them in a cache keyed by content.

Used as a library (:func:`artifact`) by the test bed and the demo, and as a command::

    python -m tests.bed.artifacts [--force] [--verify] [NAME ...]

A program is compiled from a Go module whose ``go.mod`` and ``go.sum`` pin every byte. The cache lies outside, at
``$SAPFLUX_CACHE`` (default ``~/.cache/sapflux.hosting``), as ``artifacts/<name>/<key>/<name>`` beside ``<name>.json``;
the key is the sha256 over everything that decides the bytes: the module's files, the Go version, the target, the flags.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=")
FIXED_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
# What `go env` says about the target: together with FIXED_ENV and BUILD_FLAGS it decides the bytes that come out.
TARGET_KEYS = ("GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140")
DOWNLOAD_TRIES = 3
HEARTBEAT = 15.0  # seconds between two signs of life of a long step
ERROR_LINES = 20  # of a failed step's output, newest last

Progress = Callable[[str], None]


class ArtifactError(Exception):
    """A program could not be built; the message names the program, the step and the next command."""


@dataclasses.dataclass(frozen=True)
class Program:
    """One program, compiled from ``package`` and carrying the version of ``module``.

    ``folder`` under ``artifacts/`` pins it (default: its name); several programs may share one. ``stamps`` are the
    variables that are set to the version at link time, for programs that cannot know it otherwise. ``releases`` says
    what its makers call a version that ``go.mod`` can only name by its commit.
    """

    name: str
    module: str
    package: str = "."
    folder: str = ""
    stamps: tuple[str, ...] = ()
    releases: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def flags(self, version: str) -> tuple[str, ...]:
        """The flags of ``go build`` that make the program say ``version``."""
        return tuple(
            " ".join((flag, *(f"-X {name}={version}" for name in self.stamps)))
            if flag.startswith("-ldflags=")
            else flag
            for flag in BUILD_FLAGS
        )


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A built program: ``sha256`` is lower-case hex of the file at ``path``; ``version`` has no leading ``v``."""

    name: str
    path: Path
    sha256: str
    version: str


DOPPLER = "github.com/DopplerHQ/cli"
TAILSCALE = "tailscale.com"
TAILSCALE_STAMPS = (f"{TAILSCALE}/version.shortStamp", f"{TAILSCALE}/version.longStamp")
HEADSCALE = "github.com/juanfont/headscale"
PEBBLE = "github.com/letsencrypt/pebble/v2"
PROGRAMS = {
    program.name: program
    for program in (
        Program("caddy", "github.com/caddyserver/caddy/v2"),
        Program("minio", "github.com/minio/minio", "github.com/minio/minio"),
        Program(
            "registry",
            "github.com/distribution/distribution/v3",
            "github.com/distribution/distribution/v3/cmd/registry",
        ),
        # Both halves of Tailscale come from one module, so that they can never be of two versions.
        Program("tailscale", TAILSCALE, f"{TAILSCALE}/cmd/tailscale", "tailscale", TAILSCALE_STAMPS),
        Program("tailscaled", TAILSCALE, f"{TAILSCALE}/cmd/tailscaled", "tailscale", TAILSCALE_STAMPS),
        Program("headscale", HEADSCALE, f"{HEADSCALE}/cmd/headscale"),
        Program("pebble", PEBBLE, f"{PEBBLE}/cmd/pebble"),
        # Its tags have no leading v, so that Go knows its releases by their commits only.
        Program(
            "doppler",
            DOPPLER,
            DOPPLER,
            stamps=(f"{DOPPLER}/pkg/version.ProgramVersion",),
            releases={"0.5.11-0.20230908185655-7aef4713e1a4": "3.66.0"},
        ),
    )
}


def default_cache() -> Path:
    """Where built programs are kept unless the caller says otherwise."""
    given = os.environ.get("SAPFLUX_CACHE")
    return (Path(given).expanduser() if given else Path.home() / ".cache" / "sapflux.hosting") / "artifacts"


def digest(path: Path) -> str:
    """Return the sha256 of a file as lower-case hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def module_version(module_dir: Path, module: str) -> str:
    """Return the version of ``module`` that ``go.mod`` requires, without its ``v``; ArtifactError if it has none."""
    text = (module_dir / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^(?:require)?\s*{re.escape(module)}\s+v(\S+)", text, re.MULTILINE)
    if found is None:
        raise ArtifactError(
            f"{module_dir.name}: {module_dir / 'go.mod'} does not require {module}; add it with `go get`."
        )
    return found.group(1)


def program_version(module_dir: Path, program: Program) -> str:
    """Return the version of ``program`` as its makers call it; ArtifactError for a commit that is known by no name."""
    version = module_version(module_dir, program.module)
    if program.releases and version not in program.releases:
        raise ArtifactError(
            f"{program.name}: {version} in {module_dir / 'go.mod'} is no release that is known; say in `releases` of "
            "PROGRAMS which one it is."
        )
    return program.releases.get(version, version)


def content_key(module_dir: Path, package: str, target: Mapping[str, str], flags: Sequence[str] = BUILD_FLAGS) -> str:
    """Return the sha256 over all that decides the bytes of a build: the module's files, the target and the flags."""
    hasher = hashlib.sha256()
    settings = {"package": package, "flags": flags, "env": FIXED_ENV, "target": dict(target)}
    hasher.update(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(path for path in module_dir.rglob("*") if path.is_file()):
        # Name and length first, so that no two sets of files can look alike.
        hasher.update(f"\0{path.relative_to(module_dir).as_posix()}\0{path.stat().st_size}\0".encode())
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def report(message: str) -> None:
    """The default progress: one line on standard error."""
    print(message, file=sys.stderr, flush=True)


class Builder:
    """Builds programs from ``modules`` (one folder each) into ``cache``; every dependency can be replaced in a test."""

    def __init__(
        self,
        modules: Path = ROOT / "artifacts",
        cache: Path | None = None,
        programs: Mapping[str, Program] = PROGRAMS,
        progress: Progress = report,
        pause: Callable[[float], None] = time.sleep,
        search: str | None = None,
    ) -> None:
        self.modules = modules
        self.cache = cache or default_cache()
        self.programs = programs
        self.progress = progress
        self.pause = pause
        # The locked toolchain lies beside the interpreter that runs this, whether or not its environment was activated.
        self.search = search or os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))

    def artifact(self, name: str, *, force: bool = False) -> Artifact:
        """Return the program ``name``, built first when the cache lacks it or ``force`` is set; or ArtifactError."""
        program, module_dir = self._program(name)
        version = program_version(module_dir, program)
        target = self._target(name)
        key = content_key(module_dir, program.package, target, program.flags(version))
        place = self.cache / name / key
        found = None if force else self._cached(name, place)
        if found is not None:
            return found
        with self._lock(name):
            # A caller that held the lock before us may have built the same thing meanwhile.
            found = None if force else self._cached(name, place)
            return found or self._build_into(place, program, module_dir, version)

    def verify(self, name: str) -> Artifact:
        """Build ``name`` again elsewhere with an empty build cache; ArtifactError naming both digests if not equal."""
        first = self.artifact(name)
        program, module_dir = self._program(name)
        with tempfile.TemporaryDirectory(prefix=f"sapflux-{name}-") as scratch:
            copy = Path(scratch) / "elsewhere" / module_dir.name
            shutil.copytree(module_dir, copy)
            output = Path(scratch) / name
            # With the usual build cache the second build would mostly be a copy of the first and prove nothing.
            self._compile(program, copy, output, {"GOCACHE": str(Path(scratch) / "gocache")})
            second = digest(output)
        if second != first.sha256:
            raise ArtifactError(
                f"{name}: two builds differ: sha256 {first.sha256} in {first.path}, {second} from another directory; "
                f"compare `go version -m` of both, then run `python -m tests.bed.artifacts --force --verify {name}`."
            )
        self.progress(f"{name}: a second build has the same sha256")
        return first

    def _program(self, name: str) -> tuple[Program, Path]:
        if name not in self.programs:
            raise ArtifactError(f"{name}: no such program; there are {', '.join(sorted(self.programs))}.")
        program = self.programs[name]
        module_dir = self.modules / (program.folder or name)
        if not (module_dir / "go.mod").is_file():
            raise ArtifactError(
                f"{name}: {module_dir / 'go.mod'} is missing; restore it with `git checkout {module_dir}`."
            )
        return program, module_dir

    def _go(self, name: str) -> str:
        go = shutil.which("go", path=self.search)
        if go is None:
            raise ArtifactError(
                f"{name}: there is no `go` on the PATH to build it with; run `./justw setup`, which installs it."
            )
        return go

    def _target(self, name: str) -> dict[str, str]:
        """Ask the toolchain for its version and what it builds for (also proves that it runs)."""
        command = [self._go(name), "env", "-json", *TARGET_KEYS]
        result = subprocess.run(command, env=self._environment({}), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise self._failure(
                name, "asking Go for its version", command, self.modules, result.returncode, result.stderr
            )
        answer = json.loads(result.stdout)
        return {key: str(answer[key]) for key in TARGET_KEYS if key in answer}

    @staticmethod
    def _environment(extra: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment (it may hold a proxy) with the settings that decide the bytes fixed."""
        return {**os.environ, **FIXED_ENV, **extra}

    def _cached(self, name: str, place: Path) -> Artifact | None:
        """Return the artifact at ``place`` if it is whole; the digest is taken again, so damage is built anew."""
        path = place / name
        try:
            record = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
            if digest(path) == record["sha256"]:
                return Artifact(name, path, record["sha256"], record["version"])
        except (OSError, ValueError, KeyError):
            return None
        return None

    def _build_into(self, place: Path, program: Program, module_dir: Path, version: str) -> Artifact:
        name = program.name
        for stale in place.parent.glob(
            ".build-*"
        ):  # left by a build that was killed: we hold the lock, so it is nobody's
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=place.parent) as scratch:
            output = Path(scratch) / name
            started = time.monotonic()
            self._compile(program, module_dir, output, {})
            record = {"name": name, "sha256": digest(output), "version": version}
            sidecar = Path(scratch) / f"{name}.json"
            sidecar.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            place.mkdir(exist_ok=True)
            # The record is moved last: without it the folder does not count as built.
            output.replace(place / name)
            sidecar.replace(place / sidecar.name)
        self.progress(f"{name}: built {version} in {_elapsed(started)}")
        return Artifact(name, place / name, record["sha256"], version)

    def _compile(self, program: Program, module_dir: Path, output: Path, extra: Mapping[str, str]) -> None:
        """Download, then build ``program`` from ``module_dir`` to the file ``output``; only the download is retried."""
        go = self._go(program.name)
        download = [go, "mod", "download"]
        for attempt in range(1, DOWNLOAD_TRIES + 1):
            try:
                self._run(program.name, "downloading its modules", download, module_dir, extra)
                break
            except ArtifactError:
                if attempt == DOWNLOAD_TRIES:
                    raise
                self.progress(f"{program.name}: the download failed, try {attempt + 1} of {DOWNLOAD_TRIES} follows")
                self.pause(2.0**attempt)
        version = program_version(module_dir, program)
        build = [go, "build", *program.flags(version), "-o", str(output), program.package]
        self._run(program.name, "building it", build, module_dir, extra)
        if not output.is_file():
            raise self._failure(program.name, "building it", build, module_dir, 0, "go build wrote no file")

    def _run(self, name: str, step: str, command: Sequence[str], cwd: Path, extra: Mapping[str, str]) -> None:
        """Run one step with a sign of life every HEARTBEAT seconds; ArtifactError with the end of its output."""
        started = time.monotonic()
        self.progress(f"{name}: {step}")
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command, cwd=cwd, env=self._environment(extra), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                while True:
                    try:
                        code = process.wait(HEARTBEAT)
                        break
                    except subprocess.TimeoutExpired:
                        self.progress(f"{name}: still {step}, {_elapsed(started)}")
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            if code != 0:
                log.seek(0)
                raise self._failure(name, step, command, cwd, code, log.read().decode(errors="replace"))

    @staticmethod
    def _failure(name: str, step: str, command: Sequence[str], cwd: Path, code: int, output: str) -> ArtifactError:
        tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-ERROR_LINES:])
        again = f"cd {shlex.quote(str(cwd))} && {shlex.join(f'{key}={value}' for key, value in FIXED_ENV.items())}"
        return ArtifactError(
            f"{name}: {step} failed (exit code {code}); to see it by itself run "
            f"`{again} {shlex.join(command)}`.\n{tail}"
        )

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Hold the program's lock, so that parallel callers build once; the kernel frees it when the holder dies."""
        folder = self.cache / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = (folder / ".lock").open("a")
        except OSError as error:
            raise ArtifactError(
                f"{name}: the cache {folder} cannot be written ({error.strerror}); "
                "set SAPFLUX_CACHE to a writable folder."
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress(f"{name}: waiting for another build of it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _elapsed(started: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def artifact(name: str, *, force: bool = False) -> Artifact:
    """Return the program ``name`` of this checkout from the default cache, built first if need be."""
    return Builder().artifact(name, force=force)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when every program named (default: all) is there, 1 with one message when one is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.bed.artifacts", description="Build the pinned programs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(PROGRAMS)} (default: all)")
    parser.add_argument("--force", action="store_true", help="build even when the cache has it")
    parser.add_argument("--verify", action="store_true", help="build a second time elsewhere and compare the digests")
    options = parser.parse_args(arguments)
    builder = Builder()
    try:
        for name in options.names or PROGRAMS:
            built = builder.artifact(name, force=options.force)
            if options.verify:
                built = builder.verify(name)
            print(f"{name} {built.version} {built.path} sha256:{built.sha256}", flush=True)
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
