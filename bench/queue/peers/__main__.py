"""One process of one peer: `python -m bench.queue.peers NAME install|work URL`."""

import importlib
import sys

import uvloop


def main() -> None:
    """Run the verb that the arguments name."""
    peer, verb, url = sys.argv[1:]
    module = importlib.import_module(f"bench.queue.peers.{peer}")
    uvloop.run(getattr(module, verb)(url))


if __name__ == "__main__":
    main()
