"""Experiments: a plan of cells, each a fine-tuning, their results, and what they show."""
