"""Synthetic checks: the pages of all processes and the way of an event, asked from outside as a user would.

Not: where the processes are and with what credential they are asked (apps).
"""
