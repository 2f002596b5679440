"""Runs ministack with a clock that tests can move and storage that an intruder can alter: `program.py CONTROL_PORT`.

Its SQS is the program's own; only what time it is comes from here. Commands are lines of JSON on the control port.
"""

import json
import socketserver
import sys
import threading
import time

from typing_extensions import override

_offset_s = 0.0
_real = time.time


def _moved() -> float:
    return _real() + _offset_s


time.time = _moved  # before ministack is imported, so that all of it reads the moved clock


class _Control(socketserver.StreamRequestHandler):
    """One command a line, one answer a line."""

    @override
    def handle(self) -> None:
        global _offset_s  # noqa: PLW0603 - the one clock of this process
        from ministack.services import sqs

        for line in self.rfile:
            command = json.loads(line)
            answer: object = True
            match command["do"]:
                case "advance":
                    _offset_s += command["seconds"]
                case "alter":
                    answer = _alter(sqs, command["id"], command["old"], command["new"])
                case "wipe":
                    for _, queue in list(sqs._queues.all_items()):
                        queue["messages"] = []
                        queue["dedup_cache"] = {}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def _alter(sqs: object, message_id: str, old: str, new: str) -> int:
    changed = 0
    for _, queue in sqs._queues.all_items():  # type: ignore[attr-defined]
        for message in queue["messages"]:
            if message["id"] == message_id and old in message["body"]:
                message["body"] = message["body"].replace(old, new)
                changed += 1
    return changed


if __name__ == "__main__":
    server = socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), _Control)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    from ministack.app import main

    sys.argv = sys.argv[:1]
    main()
