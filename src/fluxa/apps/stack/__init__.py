"""What `fluxa up` needs to run a whole stack: the supervisor, its files in the home, the lines it prints."""
