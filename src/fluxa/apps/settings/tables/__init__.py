"""Settings that are tables of their own in the file: one file a table. Not: the settings of one line (fields)."""
