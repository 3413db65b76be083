"""The list of checks in docs/audit.md: `python -m tests.audit_docs` writes it anew from the checks themselves."""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "audit.md"
BEGIN, END = "<!-- checks: begin -->\n", "<!-- checks: end -->"


def page() -> str:
    """The page as it should be."""
    from ansible_collections.sapflux.hosting.plugins.module_utils._audit_checks import CHECKS
    from ansible_collections.sapflux.hosting.plugins.module_utils._audit_report import table

    head, _begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{head}{BEGIN}{table(CHECKS)}{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write the page."""
    sys.path.insert(0, str(PAGE.parents[1] / ".ansible" / "collections"))
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
