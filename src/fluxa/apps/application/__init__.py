"""The application that every process serves: loaded from the user's program, tuned by the settings."""

from fluxa.apps.application.application import application, tuned

__all__ = ["application", "tuned"]
