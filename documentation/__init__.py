"""The documentation's site: what mkdocs.yml needs beside the pages of docs/, and the pages made from the code."""
