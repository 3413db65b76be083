"""Holds a WAL-G, the real one or the stand-in, to the recorded transcript.

``python3 conformance.py cases.json --walg PROGRAM --settings WAL-G.JSON --bin DIRECTORY``, run by an account
that may run PostgreSQL. It makes a cluster of its own in a temporary directory and a prefix of its own
in the bucket, leads both through the situations of the transcript, and compares exit codes, the shape of JSON, names
and messages.
Prints a JSON list of {title, faults}; exit 1 when there are faults. Standard library only: it runs on the test host.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Values that must be equal, not just of the same type.
_EXACT = {"status", "is_permanent", "storage_name", "date_fmt", "release", "Version", "IsPermanent", "DateFmt", "a"}
_PORT = "5497"


def shape(value: Any, key: str = "") -> Any:
    """What two answers must have in common: keys, types, lengths of lists, and the values of a few keys."""
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item, key) for item in value]
    return value if key in _EXACT else type(value).__name__


def pattern(line: str) -> str:
    """A recorded line as a regular expression: numbers and the width of columns may differ."""
    return r"\s+".join(re.sub(r"(\\?[-:.])?\d+", r"[-:.\\d]*", re.escape(word)) for word in line.split())


class Bench:
    """A cluster, a prefix, and the settings files that lead WAL-G to them."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options, self.home, self.data = options, home, home / "data"
        self.bucket = options.settings["WALG_S3_PREFIX"].split("/")[2]
        self.prefix = f"conformance/{time.time_ns():x}"
        self.names: dict[str, str] = {"data": str(self.data), "tmp": str(home), "prefix": self.prefix}
        self.configs = {
            "": self._settings("good", self.prefix),
            "empty": self._settings("empty", f"{self.prefix}-empty"),
            "wrong-key": self._settings("wrong", self.prefix, AWS_SECRET_ACCESS_KEY="wrong-secret"),
            "other-seal": self._settings("seal", self.prefix, WALG_LIBSODIUM_KEY_PATH=self._key("other", "22")),
            "no-seal": self._settings("unsealed", self.prefix, WALG_LIBSODIUM_KEY_PATH=f"{home}/nowhere.key"),
            "broken": self._broken(),
        }
        self.names["broken"] = self.configs["broken"]

    def _settings(self, name: str, prefix: str, **changed: str) -> str:
        values = {
            **{name: value for name, value in self.options.settings.items() if name.startswith("AWS_")},
            "WALG_S3_PREFIX": f"s3://{self.bucket}/{prefix}",
            "WALG_COMPRESSION_METHOD": "zstd",
            "WALG_LIBSODIUM_KEY_PATH": self._key("own", "11"),
            "WALG_LIBSODIUM_KEY_TRANSFORM": "hex",
            "WALG_PREVENT_WAL_OVERWRITE": "true",
            "WALG_UPLOAD_CONCURRENCY": "2",
            "S3_ENABLE_VERSIONING": "disabled",
            "PGHOST": str(self.home),
            "PGPORT": _PORT,
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            "PGDATA": str(self.data),
        }
        path = self.home / f"{name}.json"
        path.write_text(json.dumps(values | changed))
        return str(path)

    def _key(self, name: str, byte: str) -> str:
        path = self.home / f"{name}.key"
        path.write_text(byte * 32)
        return str(path)

    def _broken(self) -> str:
        path = self.home / "broken.json"
        path.write_text("not json")
        return str(path)

    def _pg(self, program: str, *arguments: str, text: str = "") -> str:
        # the server inherits these files: with a pipe one would wait for its end
        with (self.home / "pg.log").open("w+") as out:
            argv = [f"{self.options.bin}/{program}", *arguments]
            done = subprocess.run(argv, input=text, stdout=out, stderr=subprocess.STDOUT, text=True, check=False)
            out.seek(0)
            output = out.read()
        if done.returncode != 0:
            raise SystemExit(f"{program} failed: {output}")
        return output.strip()

    def sql(self, text: str) -> str:
        return self._pg(
            "psql", "-XAtq", "-h", str(self.home), "-p", _PORT, "-U", "postgres", "-d", "postgres", text=text
        )

    def start(self) -> None:
        self._pg("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = ''\nport = {_PORT}\nunix_socket_directories = '{self.home}'\n")
            file.write("fsync = off\nshared_buffers = 16MB\narchive_mode = on\nmin_wal_size = 512MB\n")
            file.write(f"archive_command = '{self.options.walg} --config {self.configs['']} wal-push %p'\n")
        self._pg("pg_ctl", "-D", str(self.data), "-l", str(self.home / "server.log"), "-w", "start")

    def stop(self) -> None:
        self._pg("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")

    def switch(self) -> str:
        """Closes the current segment and waits until it is archived; its name."""
        name = self.sql(
            "SET client_min_messages = error; CREATE TABLE IF NOT EXISTS t (n int);"
            "INSERT INTO t VALUES (1); SELECT pg_walfile_name(pg_switch_wal())"
        )
        deadline = time.monotonic() + 120
        while self.sql("SELECT coalesce(max(last_archived_wal), '') FROM pg_stat_archiver") < name:
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} was not archived: {(self.home / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)
        return name

    def run(self, argv: list[str], config: str = "") -> subprocess.CompletedProcess[str]:
        full = [self.options.walg, "--config", self.configs[config], *argv]
        # keys in the environment would win over those of the settings file
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run(full, env=environment, capture_output=True, text=True, cwd=self.home, check=False)

    def newest(self) -> str:
        rows = json.loads(self.run(["backup-list", "--json"]).stdout)
        return str(rows[-1]["backup_name"])


def prepare(bench: Bench) -> None:
    """Everything the transcript begins with: a server, one backup, and a segment after it that can be missed."""
    bench.switch()
    done = bench.run(["backup-push", str(bench.data)])
    if done.returncode != 0:
        raise SystemExit(f"the first backup failed: {done.stderr}")
    bench.names["first"] = bench.newest()
    bench.names["gap"] = bench.switch()
    bench.switch()
    (bench.home / "id.json").write_text('{"a":1}\n')


def learn(bench: Bench, title: str) -> None:
    """What later cases speak of and only now exists."""
    if title == "second full backup":
        bench.names["second"] = bench.newest()
    if title == "third full backup with user data":
        bench.names["third"] = bench.newest()
    if title == "mark impermanent again":
        name = bench.switch()
        bench.names["segment"] = name
        (bench.home / name).write_bytes(b"other" * 100)


def faults_of(case: dict[str, Any], done: subprocess.CompletedProcess[str], fill: Callable[[str], str]) -> list[str]:
    """Differences between the recorded answer and this one."""
    found = []
    if done.returncode != case["exit"]:
        found.append(f"exit {done.returncode}, recorded {case['exit']}: {done.stderr[-300:]}")
    if "json" in case:
        try:
            answer = shape(json.loads(done.stdout))
        except ValueError:
            answer = f"no JSON: {done.stdout[:200]}"
        if answer != shape(case["json"]):
            found.append(f"stdout has the shape {json.dumps(answer)}, recorded {json.dumps(shape(case['json']))}")
    for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        wanted = [fill(line) for line in case.get(name, [])]
        found += [f"{name} lacks {line!r}: {text[-400:]!r}" for line in wanted if not re.search(pattern(line), text)]
    return found


def effects(bench: Bench, title: str) -> list[str]:
    """What the transcript shows of the files a command left."""
    if title == "wal-fetch, present":
        want = (bench.data / "pg_wal" / bench.names["segment"]).read_bytes()
        return [] if (bench.home / "got").read_bytes() == want else ["the fetched segment is not the archived one"]
    if title == "wal-fetch, absent segment":
        return ["a file was left for an absent segment"] if (bench.home / "none").exists() else []
    if title == "backup-fetch LATEST":
        home = bench.home / "r1"
        missing = [
            name
            for name in ("PG_VERSION", "backup_label", "tablespace_map", "global/pg_control", "pg_wal")
            if not (home / name).exists()
        ]
        wrong = [] if home.stat().st_mode & 0o777 == 0o700 else [f"mode {home.stat().st_mode & 0o777:o}"]
        return wrong + [f"the restored directory lacks {name}" for name in missing]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--walg", required=True)
    parser.add_argument("--settings", required=True, type=lambda path: json.loads(Path(path).read_text()))
    parser.add_argument("--bin", default="/usr/lib/postgresql/17/bin")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="walg-", dir="/var/tmp"))
    bench = Bench(options, home)
    results = []
    try:
        bench.start()
        prepare(bench)
        for case in json.loads(options.cases.read_text()):

            def fill(text: str) -> str:
                for name, value in bench.names.items():
                    text = text.replace("{" + name + "}", value)
                return text

            done = bench.run([fill(word) for word in case["argv"]], case.get("config", ""))
            learn(bench, case["title"])
            faults = faults_of(case, done, fill) + effects(bench, case["title"])
            results.append({"title": case["title"], "faults": faults})
        bench.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(results, indent=1))
    return 1 if any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
