"""Pruning: what is long unused goes, what may be needed stays, and nothing goes while it is not known what to keep."""

from __future__ import annotations

import http.server
import importlib.util
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "docker" / "files" / "prune.py"
DAY = 86400.0
NOW = 1_000_000_000.0


def load() -> ModuleType:
    """Import the script from the role."""
    spec = importlib.util.spec_from_file_location("docker_prune", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name.
    sys.modules["docker_prune"] = module
    spec.loader.exec_module(module)
    return module


prune = load()


class Engine:
    """An engine with images, containers and a build cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tags: dict[str, list[str]] = {"A": ["a:1"], "B": ["b:1", "b:2"], "C": []}
        self.containers: list[str] = []
        self.cache: list[float] = []
        self.busy: set[str] = set()

    def root(self) -> str:
        """Some directory."""
        return str(self.directory)

    def images(self) -> list[dict[str, Any]]:
        """As the engine lists them: dangling ones have no names."""
        return [{"Id": image, "RepoTags": names, "RepoDigests": []} for image, names in self.tags.items()]

    def used(self) -> set[str]:
        """Images of containers."""
        return set(self.containers)

    def resolve(self, reference: str) -> str | None:
        """By name or id."""
        return next((image for image, names in self.tags.items() if reference in (image, *names)), None)

    def remove(self, name: str) -> bool:
        """A name; the image goes with the last one."""
        image = self.resolve(name)
        if image is None or image in self.busy:
            return False
        self.tags[image] = [one for one in self.tags[image] if one != name]
        if not self.tags[image]:
            del self.tags[image]
        return True

    def prune_cache(self, age: float) -> int:
        """Remember the age."""
        self.cache.append(age)
        return 5 * 2**20


class World:
    """An engine, its options, and runs at chosen times."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine = Engine(directory)
        self.full = [50, 50]

    def options(self, **changes: Any) -> Any:
        """A week, two hours above 85 %."""
        values: dict[str, Any] = {
            "keep": [f"{self.directory}/keep/*"],
            "keep_releases": 2,
            "age": 7 * DAY,
            "pressure_age": 7200.0,
            "watermark": 85,
            "ledger": f"{self.directory}/unused.json",
        }
        return prune.Options(**{**values, **changes})

    def run(self, days: float, **changes: Any) -> Any:
        """One run, `days` after the beginning."""
        fills = iter(self.full)
        return prune.Prune(self.options(**changes), self.engine, NOW + days * DAY, lambda _path: next(fills)).run()

    def keep(self, name: str, text: str) -> None:
        """Write a file that names images."""
        (self.directory / "keep").mkdir(exist_ok=True)
        (self.directory / "keep" / name).write_text(text)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three images that nothing uses: one name, two names, none."""
    return World(tmp_path)


def test_an_image_goes_after_it_was_unused_for_the_whole_time(world: World) -> None:
    """Counted from the first sight, not from its build: a fresh pull of an old image waits, too."""
    assert world.run(0).removed == []
    assert world.run(6.9).removed == []
    report = world.run(7)
    assert (sorted(report.removed), world.engine.tags) == (["C", "a:1", "b:1"], {})
    assert report.waiting == 0


def test_images_of_containers_stay_and_start_anew_when_the_container_goes(world: World) -> None:
    """A stopped container counts, for it may be started again."""
    world.engine.containers = ["A"]
    world.run(0)
    assert world.run(8).kept == 1
    assert list(world.engine.tags) == ["A"]
    world.engine.containers = []
    world.run(9)
    assert world.run(15.9).removed == []
    assert world.run(16).removed == ["a:1"]


def test_kept_references_stay_by_any_name(world: World) -> None:
    """One name of an image keeps all of it; comments and names that are not here do no harm."""
    world.keep("list", "# rollback\nb:2  # the second name\nnot-here:1\n")
    world.run(0)
    assert sorted(world.run(8).removed) == ["C", "a:1"]
    assert world.engine.tags == {"B": ["b:1", "b:2"]}


def test_the_newest_releases_keep_their_images(world: World) -> None:
    """Two that passed; a failed one between them does not push the older out, a half-written line is passed over."""
    world.engine.tags = {name: [f"{name}:1"] for name in "ABCDE"}

    def line(image: str, verdict: str) -> str:
        return json.dumps({"verdict": verdict, "services": {"api": {"image": f"{image}:1"}}}) + "\n"

    world.keep("releases.jsonl", line("A", "ok") + line("B", "ok") + line("C", "failed") + line("D", "ok") + '{"verd')
    world.run(0)
    assert sorted(world.run(8).removed) == ["A:1", "C:1", "E:1"]
    world.run(9, keep_releases=0)
    assert sorted(world.run(17, keep_releases=0).removed) == ["B:1", "D:1"]


def test_a_document_keeps_every_image_it_names(world: World) -> None:
    """Keys `image` at any depth; other text that looks like a name does not count."""
    world.keep("good.json", json.dumps({"services": [{"name": "a:1", "image": "b:1", "env": {"image": {"x": 1}}}]}))
    world.run(0)
    assert sorted(world.run(8).removed) == ["C", "a:1"]


@pytest.mark.parametrize(("name", "text"), [("good.json", "{"), ("r.jsonl", "{}\nno json\n"), ("r.jsonl", "[]\n")])
def test_a_file_that_cannot_be_read_stops_the_run(world: World, name: str, text: str) -> None:
    """It may name anything, so nothing is removed."""
    world.run(0)
    world.keep(name, text)
    with pytest.raises(prune.PruneError, match=f"keep/{name} says which images to keep and cannot be read"):
        world.run(8)
    assert sorted(world.engine.tags) == ["A", "B", "C"]


def test_above_the_watermark_the_short_age_counts(world: World) -> None:
    """Hours instead of days, for build cache too; a pull of a moment ago still waits."""
    world.run(0)
    world.engine.tags["D"] = ["d:1"]
    world.full = [90, 40]
    report = world.run(0.2)
    assert (sorted(report.removed), report.waiting) == (["C", "a:1", "b:1"], 1)
    assert (report.before, report.after) == (90, 40)
    assert world.engine.cache == [7 * DAY, 7200.0]


def test_an_image_that_came_into_use_meanwhile_is_left(world: World) -> None:
    """The engine's refusal is no error."""
    world.run(0)
    world.engine.busy = {"A"}
    assert sorted(world.run(8).removed) == ["C", "b:1"]


def test_a_clock_set_back_and_a_broken_ledger_only_cost_time(world: World) -> None:
    """Nothing goes early, and nothing waits for ever."""
    world.run(100)
    assert world.run(0).removed == []
    assert sorted(world.run(7).removed) == ["C", "a:1", "b:1"]
    world.engine.tags = {"A": ["a:1"]}
    (world.directory / "unused.json").write_text("{broken")
    assert world.run(20).removed == []
    assert world.run(27).removed == ["a:1"]


def test_the_ledger_is_written_only_when_it_changes(world: World) -> None:
    """An hourly run on a quiet host does not wear the disk."""
    world.run(0)
    before = (world.directory / "unused.json").stat().st_ino
    world.run(1)
    assert (world.directory / "unused.json").stat().st_ino == before


@pytest.mark.parametrize("text", ["", "{}", '{"keep": 1}'])
def test_a_broken_configuration_is_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, nothing asked."""
    path = tmp_path / "prune.json"
    path.write_text(text)
    assert prune.main(["prune.py", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"{path} cannot be used")


class Handler(http.server.BaseHTTPRequestHandler):
    """A few answers of the engine, recorded from version 26.1."""

    seen: list[str] = []  # noqa: RUF012 - of the class on purpose
    root = "/"
    images: list[dict[str, Any]] = []  # noqa: RUF012

    def answer(self, status: int, body: Any) -> None:
        """Send one."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """Questions."""
        path = self.path.split("?")[0]
        known = {
            "/info": {"DockerRootDir": self.root},
            "/images/json": self.images,
            "/containers/json": [{"ImageID": "sha256:used"}],
        }
        self.answer(200, known[path]) if path in known else self.answer(404, {"message": "No such image"})

    def do_DELETE(self) -> None:
        """Removal: one is in use."""
        self.seen.append(self.path)
        self.answer(409 if "busy" in self.path else 200, {"message": "conflict"} if "busy" in self.path else [])

    def do_POST(self) -> None:
        """The build cache."""
        self.seen.append(self.path)
        self.answer(200, {"CachesDeleted": None, "SpaceReclaimed": 3})

    def log_message(self, *_args: Any) -> None:
        """Quiet."""

    def address_string(self) -> str:
        """A unix socket has no address."""
        return ""


@pytest.fixture
def sock(tmp_path: Path) -> Iterator[Path]:
    """A socket behind which the handler answers."""
    path = tmp_path / "docker.sock"
    Handler.seen, Handler.root, Handler.images = [], str(tmp_path), []
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def config(directory: Path, sock: Path, watermark: int = 101) -> Path:
    """A configuration file whose ages are zero."""
    path = directory / "prune.json"
    values = {"keep": [], "keep_releases": 1, "age_hours": 0, "pressure_hours": 0, "watermark_percent": watermark}
    path.write_text(json.dumps({**values, "sock": str(sock), "ledger": str(directory / "state" / "unused.json")}))
    return path


def test_the_program_speaks_to_the_engine(tmp_path: Path, sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are quoted into paths, nothing is forced, the filter is the engine's; the journal gets what was done."""
    Handler.images = [
        {"Id": "sha256:used", "RepoTags": ["used:1"]},
        {"Id": "sha256:busy", "RepoTags": ["busy:1"]},
        {"Id": "sha256:old", "RepoTags": ["r.test:5000/a/b:1"]},
        {"Id": "sha256:dangling", "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]},
        {"Id": "sha256:digest", "RepoTags": None, "RepoDigests": ["x@sha256:00"]},
    ]
    assert prune.main(["prune.py", str(config(tmp_path, sock))]) == 0
    assert Handler.seen[:-1] == [
        "/images/busy:1",
        "/images/r.test:5000/a/b:1",
        "/images/sha256:dangling",
        "/images/x@sha256:00",
    ]
    assert Handler.seen[-1].startswith("/build/prune?all=1&filters=%7B%22until%22")
    out = capsys.readouterr().out
    assert "removed r.test:5000/a/b:1\n" in out
    assert "removed 3 image(s)" in out


def test_a_disk_that_stays_full_fails_the_run(tmp_path: Path, sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The unit fails, so that whoever watches it hears of it."""
    assert prune.main(["prune.py", str(config(tmp_path, sock, watermark=0))]) == 1
    assert "full after pruning, the watermark is 0 %; make room" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("blocks", "free", "available", "percent"),
    [(1000, 400, 200, 75), (1000, 1000, 950, 0), (0, 0, 0, 0), (100, 0, 0, 100)],
)
def test_the_fill_is_that_of_df(
    monkeypatch: pytest.MonkeyPatch, blocks: int, free: int, available: int, percent: int
) -> None:
    """Space that is reserved for root counts neither as taken nor as free."""
    space = SimpleNamespace(f_blocks=blocks, f_bfree=free, f_bavail=available)
    monkeypatch.setattr(prune.os, "statvfs", lambda _path: space)
    assert prune.fill("/") == percent


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the way out."""
    assert prune.main(["prune.py", str(config(tmp_path, tmp_path / "none.sock"))]) == 1
    assert "look at `systemctl status docker`" in capsys.readouterr().err
