"""The user's program is found or it is said why not, and the settings have the last word about queues (QUEUE-2)."""

import sys
from pathlib import Path

import pytest

from fluxa.apps import settings
from fluxa.apps.application import application
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.queue.backend import KeyRule

pytestmark = pytest.mark.req("QUEUE-2")

PROGRAM = """
from fluxa import Fluxa, QueueSpec
app = Fluxa()
app.queue(QueueSpec("thumbnails", concurrency=4))
number = 7
"""
FILE = """
[queues.pulse]
concurrency = 9
attempts_max = 3
retry_base_s = 1.5
classes = { ProviderRejected = "transient" }
breaker_failures = 2
depth_high = 50

[queues.letters]
ordered = true
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def load(folder: Path, file: str = "", **given: object) -> settings.Settings:
    (folder / "fluxa.toml").write_text(file, "utf-8")
    return settings.load({"home": str(folder), **given}, environment={}, working_folder=folder).settings


def test_without_a_program_there_are_the_queues_of_fluxa_itself(folder: Path) -> None:
    app = application(load(folder))
    assert {spec.name for spec in app.registry} >= {
        "pulse",
        "changelog_process",
        "changelog_notify",
        "discord_jobs",
        "discord_submissions",
        "revalidation",
        "embedding_generation",
        "package_generation",
        "events",
        "resend_contacts",
    }
    assert list(app.handlers) == []


def test_the_settings_tune_queues_and_declare_new_ones(folder: Path) -> None:
    registry = application(load(folder, FILE)).registry
    pulse = registry.get("pulse")
    assert (pulse.concurrency, pulse.batch, pulse.retry.attempts_max, pulse.retry.base_s) == (9, 100, 3, 1.5)
    assert pulse.retry.class_of("ProviderRejected") is RetryClass.TRANSIENT
    assert (pulse.breaker.failures, pulse.watermarks.depth, pulse.watermarks.dead) == (2, 50, 0)
    assert registry.get("letters").keys == KeyRule(limit=1, ordered=True)
    assert registry.key_rules.keys() == {"letters", "resend_contacts", "alarm_notify"}


def test_a_queue_tuned_wrongly_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(FluxaError, match="concurency") as caught:
        load(folder, "[queues.pulse]\nconcurency = 9\n")
    assert caught.value.code == ErrorCode.CONFIGURATION


def test_the_program_of_the_working_folder_is_served(folder: Path) -> None:
    (folder / "my_program_a.py").write_text(PROGRAM, "utf-8")
    app = application(load(folder, "[queues.thumbnails]\ntimeout_s = 5\n", app="my_program_a:app"))
    assert (app.registry.get("thumbnails").concurrency, app.registry.get("thumbnails").timeout_s) == (4, 5.0)


@pytest.mark.parametrize(
    ("program", "place", "said"),
    [
        (PROGRAM, "my-program", "not of the form module:attribute"),
        (PROGRAM, "nowhere_at_all:app", "There is no module nowhere_at_all"),
        (PROGRAM, "my_program_b:other", "has no other"),
        (PROGRAM, "my_program_b:number", "is a int"),
        ("import surely_not_installed", "my_program_c:app", "needs surely_not_installed"),
        ("1 / 0", "my_program_d:app", "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_a_program_is_said_without_a_traceback(
    folder: Path, program: str, place: str, said: str
) -> None:
    (folder / f"{place.partition(':')[0]}.py").write_text(program, "utf-8") if "nowhere" not in place else None
    with pytest.raises(FluxaError, match=said) as caught:
        application(load(folder, app=place))
    assert caught.value.code == ErrorCode.CONFIGURATION
