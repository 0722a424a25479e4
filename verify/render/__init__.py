"""Text and JSON forms of a report."""
