"""What Fluxa does by itself or for operators, beside the work in its queues."""
