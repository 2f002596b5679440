"""Who is calling: API keys and tenants."""
