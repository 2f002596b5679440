"""Makes what tests need: events, rows, deliveries."""
