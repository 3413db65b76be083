"""The settings file that WAL-G reads, and its log."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path


class WalgError(Exception):
    """Ends the program with ``code``; the text goes to the log as an error."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


_LEVELS = {"ERROR": {"ERROR"}, "NORMAL": {"ERROR", "WARNING", "INFO"}}
_shown = _LEVELS["NORMAL"]


def log(level: str, text: str) -> None:
    """One line on stderr, stamped as WAL-G does it."""
    if level in _shown:
        stamp = datetime.now(UTC).strftime("%Y/%m/%d %H:%M:%S.%f")
        print(f"{level}: {stamp} {text}", file=sys.stderr, flush=True)


class Settings:
    """Settings by name; the environment wins over the file."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def get(self, name: str, default: str = "") -> str:
        return os.environ.get(name, self._values.get(name, default))

    def number(self, name: str, default: int) -> int:
        return int(self.get(name, str(default)))

    def flag(self, name: str) -> bool:
        return self.get(name, "false").lower() == "true"


def load(path: str) -> Settings:
    """Reads the JSON file; one that cannot be read leaves WAL-G without a storage."""
    global _shown
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        settings = Settings({str(key): str(value) for key, value in values.items()})
    except (OSError, ValueError, AttributeError) as error:
        log("WARNING", f"Failed to parse config file {path}. While parsing config: {error}.")
        settings = Settings({})
    _shown = _LEVELS.get(settings.get("WALG_LOG_LEVEL", "NORMAL"), _LEVELS["NORMAL"])
    if not settings.get("WALG_S3_PREFIX"):
        raise WalgError("Failed to find any configured storage")
    return settings
