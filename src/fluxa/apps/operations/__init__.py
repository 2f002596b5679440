"""What the settings make of the operations, and how processes run them. Not: the operations themselves."""
