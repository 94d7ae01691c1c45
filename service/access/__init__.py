"""API keys: who calls, what the key allows, and how often the caller may call."""
