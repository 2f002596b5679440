"""`fluxa queue`: what can be done with queues, one file a kind. What is found there, fluxa.queue.health decides."""
