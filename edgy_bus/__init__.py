"""Database models whose signals cross process and service boundaries, reliably and in order."""
