"""Differences to a base model's parameters: bias-only (BitFit) and sparse (LT-SFT) fine-tuning."""
