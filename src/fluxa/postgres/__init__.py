"""Postgres: connections, transactions, SQL files, migrations and the embedded server. No product tables' SQL."""
