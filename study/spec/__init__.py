"""A study as its YAML file says: the document, its factors, ranges and objectives, checked and typed."""
