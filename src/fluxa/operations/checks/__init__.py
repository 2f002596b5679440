"""Checks that one station at a time does now and then, and what they last found. Not: what they look at."""
