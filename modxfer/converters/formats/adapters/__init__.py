"""The `adapters` format."""
