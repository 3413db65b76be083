"""Command line of the bed: `python -m tests.bed up web --memory 2g`."""

from __future__ import annotations

import argparse
import sys

from . import doubles, engine, hosts, image, packages, sidecars, tailnet
from .shell import BedError, run, tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bed", description="Throwaway Debian hosts on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("engine", help="make sure Docker answers, installing and starting it when run as root")
    verbs.add_parser("image", help="build the host image and print its tag")
    up = verbs.add_parser("up", help="start hosts and wait for SSH")
    up.add_argument("name", nargs="+")
    up.add_argument("--memory", help="bound of the whole host, e.g. 2g (a CPX11)")
    up.add_argument("--root-only", action="store_true", help="no admin user yet, as on a fresh server")
    down = verbs.add_parser("down", help="remove hosts (all of this bed without a name), sidecars included")
    down.add_argument("name", nargs="*")
    verbs.add_parser("sidecars", help="start the object store and the registry")
    verbs.add_parser("healthchecks", help="start the double of Healthchecks.io")
    bucket = verbs.add_parser("bucket", help="make a bucket in the object store")
    bucket.add_argument("name")
    verbs.add_parser("tailnet", help="start headscale, the package repository and the operator's machine")
    secret = verbs.add_parser("tailnet-key", help="print a key with which one node can join")
    secret.add_argument(
        "--tag", action="append", default=[], metavar="server", help="a tag of the node; may be repeated"
    )
    secret.add_argument("--reusable", action="store_true", help="any number of nodes can join with it")
    secret.add_argument("--ephemeral", action="store_true", help="the node is removed when it goes offline")
    secret.add_argument("--expiry", default="1h", help="how long the key can be used, e.g. 1h")
    alias = verbs.add_parser("tailnet-alias", help="let `ssh NAME-tailnet` reach a joined host by way of the operator")
    alias.add_argument("name")
    inventory = verbs.add_parser("inventory", help="print an inventory line")
    inventory.add_argument("name")
    verbs.add_parser("list", help="print the hosts of this bed")
    return parser


def main() -> int:
    """Run one verb; 0 = done, 1 = a step failed (said on stderr)."""
    args = _parser().parse_args()
    try:
        if args.verb != "inventory":
            engine.ensure()
        match args.verb:
            case "image":
                print(image.host())
            case "up":
                for name in args.name:
                    hosts.up(name, memory=args.memory, admin=not args.root_only)
            case "down":
                hosts.down(*(args.name or hosts.names()))
                if not args.name:
                    run("docker", "network", "rm", hosts.NETWORK, check=False)
            case "sidecars":
                sidecars.minio()
                sidecars.registry()
            case "healthchecks":
                doubles.start(doubles.HEALTHCHECKS)
            case "bucket":
                sidecars.minio()
                sidecars.bucket(args.name)
            case "tailnet":
                packages.repository()
                print(tailnet.operator().ipv4)
            case "tailnet-key":
                tags = [f"tag:{tag.removeprefix('tag:')}" for tag in args.tag]
                tailnet.control()
                print(tailnet.key(tags, reusable=args.reusable, ephemeral=args.ephemeral, expiry=args.expiry))
            case "tailnet-alias":
                tailnet.operator()
                print(tailnet.alias(args.name))
            case "inventory":
                print(hosts.inventory(args.name))
            case "list":
                print("\n".join(hosts.names()))
    except BedError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
