"""How queues are: what operators said, what workers report, what a queue holds. Not: the work, nor how it is shown."""
