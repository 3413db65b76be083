"""The program that `pulumi up` runs; docs/pulumi.md says how."""

from __future__ import annotations

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
# The derivations are those of the collection, taken from the checkout that this program is in.
sys.path[:0] = [str(HERE.parents[1] / ".ansible" / "collections"), str(HERE)]

if __name__ == "__main__":
    import program
    import pulumi

    config = pulumi.Config()
    program.build(program.read(HERE / config.require("document")), ssh=config.get("ssh") or "keep")
