"""Sub-commands of `teebundle` that use the network; each registers itself with the application."""
