"""`fluxa alarm` as people read it: what fires, why, what to do first, and by which runbook."""

import json
from pathlib import Path

import pytest

from fluxa.kernel.errors import ErrorCode
from integration.operations.alarms.standing import Stand
from making.stack import fluxa, json_lines

pytestmark = pytest.mark.req("ALARM-2", "ALARM-5")


async def test_what_fires_is_listed_with_its_cause_the_first_thing_to_do_and_its_runbook(
    stand: Stand, tmp_path: Path, database_url: str
) -> None:
    settings = {"FLUXA_DATABASE_URL": database_url, "FLUXA_RUNBOOK_URL": "https://books.example/{runbook}.md"}

    def run(*args: str) -> str:
        done = fluxa("alarm", *args, home=tmp_path, stdin=b"", **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "All is well, as far as it is known." in run("list")
    await stand.bury(ErrorCode.SCHEMA_VALIDATION)
    await stand.evaluator().evaluate()
    listed = run("list")
    for words in (
        "DLQDepth (jobs), warning: Dead letters wait for a person",
        "Likely cause: A record that cannot be processed (a poison pill), or a fault that outlasted its retries.",
        "First action: See why they were parked: fluxa dlq list --queue jobs.",
        "Runbook:      dlq-triage  https://books.example/dlq-triage.md",
        "1 SchemaValidation",
    ):
        assert words in listed
    unknown = next(line for line in listed.splitlines() if line.startswith("DBHighCPU"))
    assert "not known" in unknown
    assert "DBHighCPU, warning" not in listed  # nothing is to be done about what does not fire

    shown = run("show", "dlqdepth")
    assert "Fires:        dead letters above 0 (each queue)" in shown
    assert "First action: See why they were parked: fluxa dlq list --queue jobs." in shown
    assert "Runbook:      dlq-triage" in shown
    facts = json.loads(run("show", "DLQDepth", "--json"))
    assert facts["alarms"][0]["runbook"] == facts["rule"]["runbook"] == "dlq-triage"
    assert [one["what"] for one in facts["history"]] == ["firing"]

    assert "DLQDepth is yours: jobs. First: See why they were parked: fluxa dlq list --queue jobs." in run(
        "ack", "DLQDepth", "--note", "looking"
    )
    assert "DLQDepth silenced until" in run("silence", "DLQDepth", "--for", "10m", "--reason", "we know")
    (one,) = [one for one in json_lines(run("list", "--json")) if one["alarm"] == "DLQDepth"]
    assert (one["silenced"], one["ack_note"], one["first_action"][:7]) == (True, "looking", "See why")
    assert "firing (silenced)" in run("list")


async def test_a_test_goes_the_way_that_alarms_go_and_there_is_none_for_nobody(
    stand: Stand, tmp_path: Path, database_url: str
) -> None:
    settings = {"FLUXA_DATABASE_URL": database_url}
    refused = fluxa("alarm", "test", home=tmp_path, stdin=b"", **settings)
    assert refused.returncode == 3
    assert "name somebody in the setting alarm_targets" in refused.stderr
    targets = {"chat": {"kind": "discord", "url": "https://chat.example/hook"}}
    sent = fluxa("alarm", "test", home=tmp_path, stdin=b"", FLUXA_ALARM_TARGETS=json.dumps(targets), **settings)
    assert sent.returncode == 0, sent.stderr
    (message,) = await stand.messages()
    assert (message["target"], message["test"]) == ("chat", True)
