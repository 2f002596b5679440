"""How a process opens what every service needs, and serves. Not: the services."""
