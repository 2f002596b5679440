"""A query is shown without what it was about."""

import pytest

from fluxa.queue.backends.pgmq.slow import without_values


@pytest.mark.req("QUEUE-10")
@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("select 1", "select ?"),
        ("select * from t2 where a = $1 and b = -2.5e3", "select * from t2 where a = $1 and b = ?"),
        (
            "update users set name = 'it''s me', mail=E'a\\'b' where id=7",
            "update users set name = ?, mail=E? where id=?",
        ),
        ("select 'cut off in the mid", "select ?"),
        ("select $$secret$$, $a$se$$cret$a$ from t", "select ?, ? from t"),
        ("select a -- token abc\n, b /* pin\n1234 */ from t", "select a , b from t"),
        ("select 'x\ny'  ,\n\tq_7.z", "select ? , q_7.z"),
    ],
)
def test_values_and_comments_are_left_out(query: str, shown: str) -> None:
    assert without_values(query) == shown


def test_a_long_query_is_cut() -> None:
    assert len(without_values("select " + "a, " * 1000)) == 200
