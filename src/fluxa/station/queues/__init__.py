"""Queues over HTTP: look, pause, resume, dead letters, redrives, and the drain that cron calls."""
