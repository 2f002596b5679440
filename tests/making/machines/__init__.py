"""What tests by random steps need: the model of a queue, a database of their own, and whoever takes the steps."""
