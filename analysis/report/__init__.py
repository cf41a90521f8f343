"""The report: one HTML file that answers a study's question, and `python -m analysis.report ROOT/STUDY`."""
