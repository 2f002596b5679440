"""`fluxa queue process`: signs and sends the call that cron makes, and shows what came of it."""

import asyncio
import secrets
from typing import Annotated, Any

import httpx
import typer

import fluxa
from fluxa.apps.settings import Settings
from fluxa.apps.stack import home
from fluxa.auth import hmac_signature
from fluxa.cli import output
from fluxa.cli.client.connection import answer, reaching, station_url
from fluxa.cli.errors import FAILED, CommandError, stderr
from fluxa.kernel import json
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode

PATH = "/process-queues"
_MARGIN_S = 30.0
"""How much longer than the budget the answer may take: what runs when it is over is finished or given back."""


def process(
    context: typer.Context,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Only this queue; repeatable.")] = None,
    budget_s: Annotated[float | None, typer.Option(min=0.1, help="Seconds to work at most.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Work queues off for a while, as cron does: sign POST /process-queues and send it.

    Exit code 1 if a record failed or a queue could not be worked on.
    """
    settings = output.effective(context).settings
    asked: dict[str, Any] = {} if budget_s is None else {"budget_s": budget_s}
    asked |= {"queues": queue} if queue else {}
    found = asyncio.run(_call(settings, asked))
    if as_json:
        output.print_json(found)
    else:
        _show(found)
    if not found["success"]:
        raise typer.Exit(FAILED)


async def _call(settings: Settings, asked: dict[str, Any]) -> dict[str, Any]:
    url, body = station_url(settings), json.encode(asked)
    headers = hmac_signature.sign(
        _secret(settings),
        timestamp_s=int(SystemClock().now().timestamp()),
        nonce=secrets.token_hex(16),
        method="POST",
        target=PATH,
        body=body,
    )
    headers |= {"content-type": "application/json", "user-agent": f"fluxa-cli/{fluxa.__version__}"}
    patience_s = float(asked.get("budget_s", settings.queue_processor_budget_max_s)) + _MARGIN_S
    timeout = httpx.Timeout(patience_s, connect=5.0)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client, reaching(url, "station"):
        response = await client.post(url + PATH, content=body, headers=headers)
    found: dict[str, Any] = answer(response)
    return found


def _secret(settings: Settings) -> bytes:
    """What signs: the newest secret of the settings, else that of the stack on this home.

    Raises:
        CommandError: `Unauthenticated`, if there is none.
    """
    if settings.cron_secret_list:
        return settings.cron_secret_list[0]
    kept = home.read_credentials(settings.home_folder)
    if kept is None or not kept.cron_secret:
        raise CommandError(
            ErrorCode.UNAUTHENTICATED,
            f"There is no secret to sign with: cron_secrets is not set, and {settings.home_folder} holds none.",
            action="Set FLUXA_CRON_SECRETS to a secret of the station; or run fluxa up, which makes one.",
        )
    return kept.cron_secret.encode()


def _show(found: dict[str, Any]) -> None:
    summary = found["summary"]
    rows = [
        (
            one["queue"],
            one["skipped"] or ("ok" if one["success"] else "failed"),
            *(one["outcomes"][name] for name in ("done", "retried", "dead", "snoozed", "lost")),
            "unknown" if one["remaining"] is None else one["remaining"],
            one["detail"],
        )
        for one in summary["results"]
    ]
    columns = ("queue", "", "done", "retried", "dead", "snoozed", "lost", "remaining", "")
    output.print_table(columns, rows, empty="No queue has work.")
    stderr().print(
        f"{summary['totalMessagesProcessed']} done in {found['elapsedSeconds']:.1f} s; "
        f"{summary['queuesProcessed']} of {summary['totalQueues']} queues worked on.",
        markup=False,
    )
