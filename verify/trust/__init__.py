"""Which anchors are believed."""
