"""The offline verifier: bytes, rules and a given instant. No network, no clock, no environment."""
