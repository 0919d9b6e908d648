"""`make bench`: everything that is measured, in one run."""
