"""The dashboard as one file that needs nothing else, to hand on: its page with the data in it."""

import base64
import hashlib
import re

from fluxa.kernel import json
from fluxa.operations.dashboard.board import Board
from fluxa.station.dashboard.page import text_of

_LINK = re.compile(r'<link rel="stylesheet" href="/dashboard/([\w.]+)">\n')
_SCRIPT = re.compile(r'<script src="/dashboard/([\w.]+)" defer></script>\n')
_PLACES = {"uPlot.min.css": "uplot/uPlot.min.css", "uPlot.iife.min.js": "uplot/uPlot.iife.min.js"}


def snapshot(board: Board) -> str:
    """The page, which shows this and asks nobody."""
    page = text_of("dashboard.html")
    parts = [text_of(_PLACES.get(name, name)) for name in (*_LINK.findall(page), *_SCRIPT.findall(page))]
    styles, scripts = parts[: len(_LINK.findall(page))], parts[len(_LINK.findall(page)) :]
    policy = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hashes(styles)}; script-src {_hashes(scripts)}"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    head += "".join(f"<style>{text}</style>\n" for text in styles)
    # In JSON a less-than sign stands in texts only, where its escape means the same: no text can end the element.
    data = json.text(board).replace("<", "\\u003c")
    tail = f'<script type="application/json" id="kept">{data}</script>\n'
    tail += "".join(f"<script>{text}</script>\n" for text in scripts)
    page = _SCRIPT.sub("", _LINK.sub("", page))
    page = page.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{head}', 1)
    return page.replace("</body>", f"{tail}</body>", 1)


def _hashes(texts: list[str]) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)
