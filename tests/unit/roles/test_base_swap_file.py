"""The swap file of the base role: made, resized, switched on and off, never half of it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "base" / "files" / "swap_file.py"
MIB = 1024 * 1024
HEADER = "Filename\tType\tSize\tUsed\tPriority\n"


def load() -> ModuleType:
    """Import the script from the role."""
    spec = importlib.util.spec_from_file_location("swap_file", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


swap_file = load()


class Kernel:
    """mkswap, swapon and swapoff on a list of areas in a file."""

    def __init__(self, directory: Path) -> None:
        self.swaps = directory / "swaps"
        self.swaps.write_text(HEADER + "/dev/zram0 partition 1048576 0 100\n")
        self.calls: list[str] = []
        self.fail = ""

    def __call__(self, argv: list[str]) -> str:
        """Do what the named program does."""
        verb, path = argv
        self.calls.append(verb)
        if verb == self.fail:
            raise swap_file.SwapError(f"`{verb}` failed")
        text = self.swaps.read_text()
        if verb == "mkswap":
            with Path(path).open("r+b") as stream:
                stream.seek(os.sysconf("SC_PAGE_SIZE") - 10)
                stream.write(b"SWAPSPACE2")
        elif verb == "swapon":
            self.swaps.write_text(f"{text}{path} file 4096 0 -2\n")
        elif verb == "swapoff":
            self.swaps.write_text("".join(line for line in text.splitlines(True) if not line.startswith(f"{path} ")))
        return ""


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel with one swap area that is not ours."""
    return Kernel(tmp_path)


def area(kernel: Kernel, tmp_path: Path) -> object:
    """The swap file under test."""
    return swap_file.SwapFile(tmp_path / "lib" / "swapfile", kernel, kernel.swaps)


def test_it_is_made_closed_to_others_and_switched_on(kernel: Kernel, tmp_path: Path) -> None:
    """A fresh host gets a file of the size, mode 0600, in use."""
    swap = area(kernel, tmp_path)
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    found = (tmp_path / "lib" / "swapfile").stat()
    assert (found.st_size, found.st_mode & 0o777) == (2 * MIB, 0o600)
    assert kernel.calls == ["mkswap", "swapon"]


def test_a_second_run_does_nothing(kernel: Kernel, tmp_path: Path) -> None:
    """The unit runs at every boot and on every change."""
    swap = area(kernel, tmp_path)
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    kernel.calls.clear()
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    assert kernel.calls == []


def test_after_a_reboot_it_is_only_switched_on(kernel: Kernel, tmp_path: Path) -> None:
    """The file is kept; the kernel forgets."""
    swap = area(kernel, tmp_path)
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    kernel.swaps.write_text(HEADER)
    kernel.calls.clear()
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    assert kernel.calls == ["swapon"]


def test_another_size_is_made_anew(kernel: Kernel, tmp_path: Path) -> None:
    """It is switched off before it is replaced."""
    swap = area(kernel, tmp_path)
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    kernel.calls.clear()
    swap.apply(4 * MIB)  # type: ignore[attr-defined]
    assert kernel.calls == ["swapoff", "mkswap", "swapon"]
    assert (tmp_path / "lib" / "swapfile").stat().st_size == 4 * MIB


@pytest.mark.parametrize("spoilt", ["mark", "mode"])
def test_a_spoilt_file_is_made_anew(kernel: Kernel, tmp_path: Path, spoilt: str) -> None:
    """A file without the mark of a swap area, or open to others, is not used."""
    swap = area(kernel, tmp_path)
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    path = tmp_path / "lib" / "swapfile"
    if spoilt == "mark":
        path.write_bytes(b"\0" * 2 * MIB)
    else:
        path.chmod(0o644)
    kernel.swaps.write_text(HEADER)
    kernel.calls.clear()
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    assert kernel.calls == ["mkswap", "swapon"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_size_zero_removes_it_and_leaves_others(kernel: Kernel, tmp_path: Path) -> None:
    """Somebody else's swap area stays on."""
    swap = area(kernel, tmp_path)
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    swap.apply(0)  # type: ignore[attr-defined]
    assert not (tmp_path / "lib" / "swapfile").exists()
    assert kernel.swaps.read_text() == HEADER + "/dev/zram0 partition 1048576 0 100\n"
    swap.apply(0)  # type: ignore[attr-defined]


def test_a_failing_mkswap_leaves_no_file_in_use(kernel: Kernel, tmp_path: Path) -> None:
    """A cut between making and marking is healed by the next run."""
    swap = area(kernel, tmp_path)
    kernel.fail = "mkswap"
    with pytest.raises(swap_file.SwapError):
        swap.apply(2 * MIB)  # type: ignore[attr-defined]
    assert not (tmp_path / "lib" / "swapfile").exists()
    kernel.fail = ""
    swap.apply(2 * MIB)  # type: ignore[attr-defined]
    assert sorted(path.name for path in (tmp_path / "lib").iterdir()) == ["swapfile"]


def test_too_little_space_is_refused_with_numbers(kernel: Kernel, tmp_path: Path) -> None:
    """The error names the place, what is free and the way out; nothing is written."""
    swap = area(kernel, tmp_path)
    space = os.statvfs(tmp_path)
    size = (space.f_bavail * space.f_frsize // MIB + 10) * MIB
    with pytest.raises(swap_file.SwapError, match=r"MiB free, too few for .* make room or choose a smaller size"):
        swap.apply(size)  # type: ignore[attr-defined]
    assert kernel.calls == []
    assert list((tmp_path / "lib").iterdir()) == []
