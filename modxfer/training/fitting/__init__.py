"""Training a module with its library's own trainer, and predicting with it."""
