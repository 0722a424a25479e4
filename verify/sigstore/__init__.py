"""Sigstore: release statements of a build workflow, certified, logged and judged offline."""
