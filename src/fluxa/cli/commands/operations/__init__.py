"""Commands for those who run a stack: what is sent at set times, when somebody must look. Not: queues and events."""
