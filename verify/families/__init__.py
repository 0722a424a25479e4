"""Evidence families: how a provider's answer maps to evidence, keys and nonces."""
