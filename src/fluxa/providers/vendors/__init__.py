"""One file a vendor; only `fluxa.apps` and `fluxa.testing` name them."""
