"""What keeps a worker from claiming or beginning work: shared capacity, breaker, memory, outages, solitude."""
