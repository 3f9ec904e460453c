"""``make hub``: the Hub in a terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .server import Hub


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make hub", description="A Hub on this machine, for trying things out."
    )
    parser.add_argument("--port", type=int, default=8585)
    parser.add_argument("--storage", type=Path, default=Path("runs/hub"))
    options = parser.parse_args()
    try:
        hub = Hub(options.storage / "storage", options.port)
    except OSError as error:
        sys.exit(f"port {options.port} cannot be used ({error.strerror}): make hub PORT=8586")
    print("A Hub on this machine. Paste this into the other terminal:\n")
    for name, value in hub.environment(options.storage.resolve() / "home").items():
        print(f"export {name}={value}")
    print(
        f"\nLook at it: {hub.url}/?token=local-relvit    Stop it: Ctrl-C; what was pushed stays in {options.storage}"
    )
    sys.stdout.flush()
    try:
        hub.serve()
    except KeyboardInterrupt:
        print()


main()
