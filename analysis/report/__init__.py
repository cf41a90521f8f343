"""The report: one HTML file that answers a study's question, and `mia-study report ROOT/STUDY`."""
