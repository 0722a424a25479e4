"""Bytes to typed but unverified values: limits, strict JSON, base64, schema, DSSE, Statement."""
