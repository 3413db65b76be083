"""Builds the stand-in into one executable file: ``python -m tests.doubles.walg.build OUT`` prints its sha256.

The same sources give the same bytes: members are sorted, stored with a fixed time and without compression.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PARTS = (
    "__init__", "base", "catalogue", "cli", "crypt", "delete", "names", "s3", "settings", "storage", "verify", "wal"
)  # fmt: skip
_MAIN = "import sys\n\nfrom walg.cli import main\n\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(out: Path) -> str:
    """Writes the program to ``out`` (mode 0755) and gives its sha256."""
    members = {"__main__.py": _MAIN} | {f"walg/{name}.py": (_HERE / f"{name}.py").read_text("utf-8") for name in _PARTS}
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    data = b"#!/usr/bin/python3 -I\n" + body.getvalue()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(0o755)
    temporary.replace(out)
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
