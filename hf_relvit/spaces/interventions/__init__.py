"""Intervene on a vision transformer in the browser."""
