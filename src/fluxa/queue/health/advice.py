"""What to do about a queue, in sentences, the most pressing first. Pure; how urgent the whole is, rules says."""

from collections.abc import Iterator

from fluxa.queue.backend import SlowFacts, SnapshotHolder
from fluxa.queue.health.facts import Measure, QueueHealth, State

_OLD_SNAPSHOT_S = 60.0
"""A transaction this old is no request any more: somebody forgot it, or reads for a report."""

_MANY_DEAD_ROWS = 50_000


def advice(health: QueueHealth) -> tuple[str, ...]:
    """What a person who looks at the queue should know or do."""
    return (*_about_work(health), *_about_letters(health), *_about_slowness(health.why_slow), *_about_gaps(health))


def _about_work(health: QueueHealth) -> Iterator[str]:
    queue, pause = health.queue, health.pause
    if pause is not None:
        yield f"{pause.by} paused it: {pause.reason}. When that is over: fluxa queue resume {queue}"
    if health.breaker in {"open", "half_open"}:
        why = f" (last: {health.last_error_code})" if health.last_error_code else ""
        yield f"It rests because its work kept failing{why}, and is probed by itself; no attempts are burnt meanwhile."
    elif health.state is State.FAILING:
        yield f"{health.error_streak} failures in a row, the last one {health.last_error_code}; see the worker's log."
    if health.state is State.UNSERVED:
        if health.external:
            yield (
                f"Work waits and no worker delivers it. Name the endpoint of {queue} in the setting external_queues if "
                f"it has none, then: fluxa worker --queues {queue}"
            )
        else:
            yield f"Work waits and no worker serves it: fluxa worker --app PLACE --queues {queue}"
    for one in health.exceeded:
        match one.measure:
            case Measure.DEPTH:
                yield (
                    f"{one.value:.0f} messages wait, more than {one.limit:.0f}: add workers or concurrency, or find "
                    "out why they are slow."
                )
            case Measure.OLDEST_AGE:
                yield f"The oldest message waits for {one.value:.0f} s, longer than {one.limit:.0f} s."
            case Measure.DEAD:
                pass  # said of all dead letters below


def _about_letters(health: QueueHealth) -> Iterator[str]:
    if health.dead:
        most = max(health.dead_by_code or {}, key=lambda code: (health.dead_by_code or {})[code], default=None)
        mostly = f", most of them {most}" if most else ""
        yield (
            f"{health.dead} dead letters{mostly}: fluxa dlq list --queue {health.queue}; when the cause is mended, "
            f"fluxa dlq redrive --queue {health.queue}"
        )


def _about_slowness(facts: SlowFacts | None) -> Iterator[str]:
    if facts is None:
        return
    for holder in facts.holders or ():
        if holder.age_s is None or holder.age_s >= _OLD_SNAPSHOT_S:
            yield _about_holder(holder)
    if not facts.holders_complete:
        yield "Old snapshots are known in part only: this role may not see other sessions; grant it pg_read_all_stats."
    if facts.dead_rows is not None and facts.dead_rows > _MANY_DEAD_ROWS:
        yield (
            f"{facts.dead_rows} dead rows wait to be cleaned up; claims stay quick, other reads of the table do not. "
            "If nobody holds an old snapshot, look whether autovacuum runs."
        )
    if facts.blocked_keys:
        first = facts.blocked[0]
        yield (
            f"{facts.blocked_keys} keys wait for their oldest message, which failed; first key {first.key}, message "
            f"{first.message_id}, tried again in {max(0.0, first.ready_in_s):.0f} s."
        )


def _about_holder(holder: SnapshotHolder) -> str:
    age = f"for {holder.age_s:.0f} s" if holder.age_s is not None else "for an unknown time"
    match holder.kind:
        case "prepared":
            end = f"rollback prepared '{holder.name}'"
        case "slot":
            end = f"pg_drop_replication_slot('{holder.name}')"
        case _:
            end = f"pg_terminate_backend({holder.pid})"
    who = f"process {holder.pid} ({holder.name}{', ' + holder.application if holder.application else ''})"
    named = who if holder.kind == "session" else f"the {holder.kind} {holder.name}"
    doing = f", whose statement is: {holder.query}" if holder.query else ""
    return f"An old snapshot is held {age} by {named}{doing}. Dead rows stay until it ends; to end it by force: {end}"


def _about_gaps(health: QueueHealth) -> Iterator[str]:
    for part, reason in health.unknown.items():
        yield f"{part} is UNKNOWN, which is not the same as nothing: {reason}"
