"""Models, queries and the seam that a recorder extends operations through."""
