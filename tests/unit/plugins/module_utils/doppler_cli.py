"""A Doppler CLI whose answer a test decides."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.sapflux.hosting.plugins.module_utils._compose_doppler import Ended

TOKEN = "dp.st.prd." + "x" * 40
VALUES = {"A": "marker-a", "B": "two\nlines", "DOPPLER_CONFIG": "prd"}


class Cli:
    """`seal` is how it answers; `seen` are its calls, with what lay in its config directory, and that one's mode."""

    def __init__(self, values: Mapping[str, str] = VALUES) -> None:
        self.values = dict(values)
        self.seal: Callable[[Path], Ended] = self.answer
        self.seen: list[tuple[list[str], dict[str, str], dict[str, object], int]] = []
        self.salt = itertools.count()

    def answer(self, sealed: Path) -> Ended:
        """What it is asked for, sealed with another salt each time."""
        sealed.write_bytes(b"sealed:" + json.dumps([next(self.salt), self.values]).encode())
        return Ended(0, b"", "")

    def refuse(self, sealed: Path) -> Ended:
        """The token is none any more."""
        sealed.unlink()
        return Ended(1, b"", f"Unable to download secrets\nDoppler Error: Invalid Service token {TOKEN}\n")

    def silent(self, sealed: Path) -> Ended:
        """Doppler does not answer."""
        told = "Unable to fetch secrets from the Doppler API\nDoppler Error: connection refused\n"
        if sealed.read_bytes().startswith(b"sealed:"):
            return Ended(0, b"", told)
        return Ended(1, b"", told + "Doppler Error: cipher: message authentication failed\n\n=== More Info ===\nlong\n")

    def __call__(self, argv: Sequence[str], environment: Mapping[str, str], _timeout: float) -> Ended:
        words = list(argv)
        place = Path(next(word for word in words if word.startswith("--config-dir=")).partition("=")[2])
        config = json.loads((place / ".doppler.yaml").read_text())
        self.seen.append((words, dict(environment), config, place.stat().st_mode & 0o777))
        if "--fallback-only" not in words:
            return self.seal(place / "secrets.json")
        _salt, values = json.loads((place / "secrets.json").read_bytes().removeprefix(b"sealed:"))
        pairs = {**values, "HOME": "/"}.items()
        return Ended(0, b"".join(f"{name}={value}\0".encode() for name, value in pairs), "")
