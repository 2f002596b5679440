"""Routes and their roles over HTTP: the table, and who may call what. Not: how bindings are kept (web)."""
