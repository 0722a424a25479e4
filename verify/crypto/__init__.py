"""Thin typed wrappers over cryptography and coincurve."""
