"""Importers: earlier recordings, brought to the same recorded exchanges that a capture gives."""
