"""The dashboard over HTTP: its data for those who may see it, and a page that draws it."""
