"""What every floor may use: errors, ids, clock, json, lifecycle. Nothing here does I/O."""
