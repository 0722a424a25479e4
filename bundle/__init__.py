"""The capture side: may use network, clock and keys; may import verify, never the reverse."""
