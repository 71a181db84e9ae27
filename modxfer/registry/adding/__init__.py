"""Writing the entry of a module or an alignment map on the Hub, from what can be found out about it."""
