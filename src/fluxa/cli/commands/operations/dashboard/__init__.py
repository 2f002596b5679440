"""`fluxa dashboard`: the command and its pictures."""
