"""The real engines behind `fluxa.queue.backend`; only `fluxa.apps` and `fluxa.testing` name them."""
