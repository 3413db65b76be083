"""Images are built once for what goes into them, and say what they are built from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bed import image, images
from tests.bed.images import IMAGES, Image


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context with sources, and with what a build leaves beside them."""
    for name in ("Dockerfile", "src/main.ts", "src/lib/map.ts", "node_modules/x/index.js", "README.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_the_tag_follows_the_sources_the_base_and_the_target(context: Path) -> None:
    made = Image("web", context, ("Dockerfile", "src"), "a minute")
    before = made.tag("base:1")
    assert before.startswith("web:")
    assert made.tag("base:2") != before
    assert Image("web", context, ("Dockerfile", "src"), "a minute", "test").tag("base:1") != before
    (context / "README.md").write_text("other")
    assert made.tag("base:1") == before
    (context / "src/lib/map.ts").write_text("other")
    assert made.tag("base:1") != before


def test_what_a_build_leaves_behind_is_no_source(context: Path) -> None:
    found = [str(path.relative_to(context)) for path in Image("web", context, (".",), "a minute").files()]
    assert found == ["Dockerfile", "README.md", "src/lib/map.ts", "src/main.ts"]


@pytest.mark.parametrize("name", IMAGES)
def test_every_source_is_there_and_reaches_the_builder(name: str) -> None:
    wanted = IMAGES[name]
    assert all((wanted.context / source).exists() for source in wanted.sources)
    ignore = wanted.context / ".dockerignore"
    if not ignore.exists():
        return
    shown = {line.removeprefix("!") for line in ignore.read_text().splitlines() if line.startswith("!")}
    hidden = {source for source in wanted.sources if source not in shown} - {"Dockerfile", ".dockerignore"}
    assert not hidden, f"{ignore} keeps {hidden} from the builder"


def test_a_build_names_base_commit_target_and_authorities(
    context: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = tmp_path_factory.mktemp("ca") / "bundle.crt"
    bundle.write_text("authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setattr(image, "base", lambda: "base:1")
    monkeypatch.setitem(IMAGES, "mine", Image("mine", context, ("src",), "a minute", "web"))
    built: list[list[str]] = []

    def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        assert not check
        return subprocess.CompletedProcess(argv, 1 if argv[0] == "docker" else 0, b"abc123\n", b"")

    def build(argv: list[str], tries: int) -> None:
        assert tries == 2
        place = Path(argv[-1])
        assert (place / ".ca" / "ca-certificates.crt").read_text() == "authority"
        assert not (place / "node_modules").exists()
        built.append(argv)

    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(images, "retry_download", build)
    tag = images.build("mine")
    assert tag.startswith("mine:")
    words = " ".join(built[0])
    assert f"--tag {tag} --build-arg BASE_IMAGE=base:1 --build-arg GIT_COMMIT=abc123 --target web" in words
    assert not (context / ".ca").exists(), "the sources stay as they are"


def test_an_image_that_is_there_is_not_built(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "base", lambda: "base:1")
    monkeypatch.setitem(IMAGES, "mine", Image("mine", context, ("src",), "a minute"))
    monkeypatch.setattr(images, "run", lambda *argv, **_: subprocess.CompletedProcess(argv, 0, b"", b""))
    monkeypatch.setattr(images, "retry_download", lambda *_a, **_k: pytest.fail("built"))
    assert images.build("mine").startswith("mine:")
