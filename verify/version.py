"""The one version constant (importlib.metadata costs 40 ms at start-up)."""

VERSION = "1.0.0"
