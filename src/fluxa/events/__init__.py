"""The pipeline: events come in (ingest), are stored exactly once (process) and are found again (query)."""
