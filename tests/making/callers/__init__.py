"""What callers hold: signatures of machines and of providers."""
