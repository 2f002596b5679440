"""The HTTP toolkit: route table, problems, identity, idempotency, health. No product knowledge."""
