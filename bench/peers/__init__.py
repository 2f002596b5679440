"""Other Python queues on Postgres, each set up as its documentation advises for throughput."""
