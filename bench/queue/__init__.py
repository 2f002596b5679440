"""Fluxa's queues under load, through its worker as a process, beside other queues on the same Postgres."""
