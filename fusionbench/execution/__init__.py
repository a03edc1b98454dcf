"""Cells in, cell results out."""
