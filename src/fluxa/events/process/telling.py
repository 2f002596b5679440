"""What the hook hears of a batch once it is committed; nothing is told of work that was rolled back."""

from fluxa.events.process.batch import Batch, Item
from fluxa.events.process.persist import Persisted
from fluxa.queue.outcome import Dead, Retry
from fluxa.queue.policy import RetryPolicy
from fluxa.telemetry.catalogue import (
    DuplicatesAcknowledged,
    Hook,
    LeasesLost,
    RecordParked,
    RecordRetried,
    Stage,
    StageFinished,
    Status,
)


def tell(
    hook: Hook, queue: str, batch: Batch, done: Persisted, *, policy: RetryPolicy, process_s: float, persist_s: float
) -> None:
    """Tell what became of a batch.

    Args:
        hook: who hears it.
        queue: where the batch came from.
        batch: what was committed, without the deliveries that were lost.
        done: what the transaction did.
        policy: says the class of an error.
        process_s: seconds that verifying took.
        persist_s: seconds that storing took.
    """
    if done.lost:
        hook(LeasesLost(queue, len(done.lost)))
    good = batch.good
    if good:
        # A line about one event names it; one about thousands would only be long.
        event = good[0].event if len(good) == 1 else None
        names = {"correlation_id": event.correlation_id, "event_id": event.id} if event else {}
        hook(StageFinished(Stage.PROCESS, Status.SUCCESS, len(good), process_s, **names))
        hook(StageFinished(Stage.PERSIST, Status.SUCCESS, len(good), persist_s, **names))
    if done.written.duplicates:
        hook(DuplicatesAcknowledged(done.written.duplicates))
    for item in batch.bad:
        _tell_failure(hook, item, policy, process_s)


def _tell_failure(hook: Hook, item: Item, policy: RetryPolicy, latency_s: float) -> None:
    failed = item.failed
    if failed is None:
        return
    event_id = item.record.id if item.event is None else item.event.id
    correlation_id = item.record.correlation_id if item.event is None else item.event.correlation_id
    hook(
        StageFinished(
            failed.stage,
            Status.FAILURE,
            1,
            latency_s,
            error_code=failed.code,
            correlation_id=correlation_id,
            event_id=event_id,
            detail=failed.detail,
        )
    )
    queue = item.delivery.queue
    match item.outcome:
        case Dead():
            retry_class = policy.class_of(failed.code)
            hook(RecordParked(queue, failed.code, retry_class, event_id=event_id, correlation_id=correlation_id))
        case Retry():
            hook(RecordRetried(queue, failed.code, item.attempt))
        case _:
            pass  # a failure is parked or retried; nothing else comes of it
