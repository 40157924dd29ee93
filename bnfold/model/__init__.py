"""The file and the graph; this room knows nothing about normalization."""
