"""Archives made in memory: the same bytes for the same input, on any machine."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """What lies at a path: bytes with a mode, or a symbolic link to `link`."""

    content: bytes = b""
    mode: int = 0o644
    link: str = ""


def tar(files: Mapping[str, File]) -> bytes:
    """A tar of root's files by path ("etc/motd"), with the folders above them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(f"./{folder}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path, file in sorted(files.items()):
            entry = tarfile.TarInfo(f"./{path}")
            entry.size, entry.mode = len(file.content), file.mode
            if file.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, file.link
            archive.addfile(entry, io.BytesIO(file.content))
    return stream.getvalue()


def gz(data: bytes) -> bytes:
    """The data compressed, quickly rather than well."""
    return gzip.compress(data, compresslevel=1, mtime=0)


def ar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An ar archive, the outer shell of a Debian package."""
    parts = [b"!<arch>\n"]
    for name, content in members:
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        parts += [head.encode(), content, b"\n" * (len(content) % 2)]
    return b"".join(parts)
