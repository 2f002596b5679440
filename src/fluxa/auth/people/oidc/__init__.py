"""Logging in through an OpenID provider: begun (flows), proved (provider), and whose user it is (entry)."""
