"""AdapterFusion layers, which the `adapters` library saves apart from the adapters that they fuse."""
