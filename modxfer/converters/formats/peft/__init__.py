"""The `peft` format."""
