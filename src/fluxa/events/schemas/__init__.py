"""JSON Schemas by tenant and event type: compiled, stored, kept up to date in every process (PIPE-2)."""
