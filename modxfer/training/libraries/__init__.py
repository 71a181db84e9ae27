"""The two libraries that train modules, behind one shape."""
