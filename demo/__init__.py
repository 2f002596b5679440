"""The demonstration: real departures through the whole system, with mischief on the way, checked at the end."""
