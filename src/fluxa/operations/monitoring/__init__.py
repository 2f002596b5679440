"""Fluxa for those who watch it with Prometheus and Grafana, and its routine checks. Not: alarms of its own (alarms)."""
