"""One release: its limits answered by bounds, as a page and as JSON."""
