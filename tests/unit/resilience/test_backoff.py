"""The pause before asking again for what all work needs."""

from fluxa.resilience import backoff


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [backoff.pause_s(failures, 0.999) for failures in range(1, 30)]
    assert pauses == sorted(pauses)
    assert 0 < backoff.pause_s(1, 0.0) < pauses[-1] <= 2.0
