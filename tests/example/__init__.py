"""The example registry: what its repositories hold, a Hub that serves them, and how both were made."""
