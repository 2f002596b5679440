"""Alarms over HTTP: how they stand, what operators say about them. Not: evaluating them (fluxa.operations.alarms)."""
