"""Reads the store: effects with intervals, pictures, notebooks."""
