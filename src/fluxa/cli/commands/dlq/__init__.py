"""`fluxa dlq`: what can be done with dead letters, one file a kind. What a redrive does later is `fluxa redrive`."""
