"""`ansible-test sanity` and `units` on the collection as it ships: `python -m tests.sanity [--force] [sanity|units]`.

The tarball is built and unpacked as an `ansible_collections` tree in a temporary folder, because ansible-test wants no
link and no checkout; the unit tests and this folder's `ignore-*.txt` are laid beside it. Every Python is used that is
here and that ansible-core supports on hosts. A tree that passed costs nothing the next time: a mark named by the sha256
over its files, the version of ansible-core and the Pythons is kept in `$SAPFLUX_CACHE/ansible-test` (default
`~/.cache/sapflux.hosting/ansible-test`), which is also ansible-test's home, so that its environments are made once.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.bed.shell import BedError, run, say, tell

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PIP = "25_2"
"""The pip that ansible-core 2.21 asks for, as its file is named."""
BOOTSTRAP = """\
# ansible-test downloads a script of this name from its own server; here pip comes with Python, then from the index.
import subprocess, sys

wanted = [one for one in sys.argv[1:] if not one.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", *wanted])
"""
UNITS = ("tests/unit/plugins/modules/", "tests/unit/plugins/module_utils/")
"""What ansible-test can hold: the other plugins' tests want a whole Ansible, which it hides."""
CONTROLLER = re.compile(
    r"ansible-playbook|from ansible(_collections\.sapflux\.hosting)?(\.plugins\.(action|filter|inventory|lookup|vars)"
    r"|\.(errors|inventory|parsing|playbook|vars))[. ]"
)
"""What tells a test that needs what ansible-test hides from modules' tests: it is left to the gate's step `unit`."""
BESIDE = {
    "sanity": ("sanity/ignore-*.txt",),
    "units": (
        *("*.py", "doubles/**/*.py", "bed/*.py", "unit/fixtures/**/*", "unit/lockdown/*.py"),
        *(f"{folder.removeprefix('tests/')}*" for folder in UNITS),
    ),
}
"""What of `tests/` is laid beside the collection. Tests have linters of their own, so sanity sees none."""


IMPORTED = ("boto3", "cronsim", "cryptography", "oncalendar", "python-socketio", "zstandard")
"""What modules' tests and their doubles import."""


def home() -> Path:
    """Where ansible-test keeps its environments, and this its marks."""
    given = os.environ.get("SAPFLUX_CACHE")
    return (Path(given).expanduser() if given else Path.home() / ".cache" / "sapflux.hosting") / "ansible-test"


def pip_settings() -> str:
    """The text of a pip.conf that says what this machine's says, and what its environment says.

    ansible-test gives pip a home and no environment, so that an index or a CA bundle named there would be lost.
    """
    settings = configparser.RawConfigParser()
    settings.read([Path.home() / ".pip" / "pip.conf", Path.home() / ".config" / "pip" / "pip.conf"])
    if not settings.has_section("global"):
        settings.add_section("global")
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            settings.set("global", name.removeprefix("PIP_").lower().replace("_", "-"), value)
    lines = [
        f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items(section))
        for section in settings.sections()
    ]
    return "".join(lines)


def pythons() -> dict[str, str]:
    """Path by version of each supported Python that runs; a version manager's are found where it keeps them."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for wanted in PYTHONS:
        for candidate in (f"python{wanted}", *map(str, sorted(managed.glob(f"{wanted}.*/bin/python{wanted}")))):
            path = shutil.which(candidate)
            # A version manager's shim is there for versions that are not.
            if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[wanted] = path
                break
    return found


def wants_controller(path: Path) -> bool:
    """Whether a test needs more than a module has."""
    return path.name.startswith("test_") and bool(CONTROLLER.search(path.read_text(encoding="utf-8")))


def lay(tree: Path, what: str) -> None:
    """Build the collection, and unpack it with what belongs beside it. Raises BedError where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        run("ansible-galaxy", "collection", "build", "--output-path", folder, cwd=ROOT)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(tree, filter="data")
    for source in sorted({path for pattern in BESIDE[what] for path in (ROOT / "tests").glob(pattern)}):
        if source.is_file() and "__pycache__" not in source.parts and not wants_controller(source):
            target = tree / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    if what == "units":
        # Tests import what is theirs as `tests`, like in a checkout.
        text = "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).resolve().parents[2]))\n"
        (tree / "tests" / "unit" / "conftest.py").write_text(text, encoding="utf-8")
        needed = "".join(f"{name}=={version(name)}\n" for name in IMPORTED)
        (tree / "tests" / "unit" / "requirements.txt").write_text(needed, encoding="utf-8")


def digest(tree: Path, found: dict[str, str], what: str) -> str:
    """What decides the outcome, in hex."""
    told = hashlib.sha256(repr((version("ansible-core"), sorted(found), what)).encode())
    for path in sorted(tree.rglob("*")):
        # The manifest repeats the names and digests of the others.
        if path.is_file() and path.name not in {"MANIFEST.json", "FILES.json"}:
            told.update(f"{path.relative_to(tree)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return told.hexdigest()


def environment(place: Path, found: dict[str, str]) -> dict[str, str]:
    """The environment of ansible-test, whose home is made ready."""
    files = {
        place / ".ansible" / "test" / "cache" / f"get_pip_{PIP}.py": BOOTSTRAP,
        place / ".config" / "pip" / "pip.conf": pip_settings(),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    folders = [str(Path(sys.executable).parent), *(str(Path(path).parent) for path in found.values())]
    return {**os.environ, "HOME": str(place), "PATH": os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])}


def main() -> int:
    """Run what has not passed yet."""
    parser = argparse.ArgumentParser(prog="python -m tests.sanity")
    parser.add_argument("what", nargs="*", choices=["sanity", "units", []], help="both where nothing is named")
    parser.add_argument("--force", action="store_true", help="run also what has passed before")
    args = parser.parse_args()
    place, found = home(), pythons()
    current = f"{sys.version_info[0]}.{sys.version_info[1]}"
    say(f"ansible-core {version('ansible-core')}, Python {', '.join(found)}")
    for what in args.what or ("sanity", "units"):
        with tempfile.TemporaryDirectory(prefix="sapflux-") as folder:
            tree = Path(folder) / "ansible_collections" / "sapflux" / "hosting"
            try:
                lay(tree, what)
            except BedError as error:
                return tell(error)
            mark = place / "passed" / f"{what}-{digest(tree, found, what)}"
            if mark.exists() and not args.force:
                say(f"ansible-test {what}: this collection has passed before")
                continue
            options = ["--python", current, *UNITS] if what == "units" else []
            argv = ["ansible-test", what, "--venv", "--color", "no", *options]
            code = subprocess.run(argv, cwd=tree, env=environment(place, found), check=False).returncode
            if code:
                return code
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
