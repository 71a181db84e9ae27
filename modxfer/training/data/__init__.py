"""Data of a task: read from files and data sets, checked, with its labels."""
