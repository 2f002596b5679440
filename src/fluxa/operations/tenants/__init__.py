"""Finds out whether tenants are still kept apart, and whether one is locked out. Not: how they are (fluxa.postgres)."""
