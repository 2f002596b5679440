"""What operators, cron and other systems ask of Fluxa over HTTP: one folder a slice."""
