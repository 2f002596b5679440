"""Fluxa itself under load: the client, the static answer to compare with, and the measurements of a whole stack."""
