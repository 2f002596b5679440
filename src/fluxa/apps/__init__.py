"""One file a process; settings and wiring. Only here: the environment, vendors, backends."""
