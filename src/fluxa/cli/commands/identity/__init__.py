"""Commands about who may call: keys and webhooks."""
