"""Estimates with their intervals, from the rows of a store."""
