"""What the engines tell: signals, metrics, logs. Engines call a hook; this floor decides who hears it."""
