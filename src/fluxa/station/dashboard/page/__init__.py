"""The files of the dashboard's page, as they are served."""

from importlib import resources


def text_of(file: str) -> str:
    """One of them, whole."""
    return resources.files(__name__).joinpath(file).read_text("utf-8")
