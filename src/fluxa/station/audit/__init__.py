"""The audit log over HTTP: a tenant's admins read their own chain. Not: keeping it (fluxa.operations.ledger)."""
