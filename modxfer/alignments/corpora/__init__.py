"""Readers of a corpus, one file per kind of storage. Each streams: no file is held in memory as a whole."""
