"""Connect foreign ORMs to a bus: each is a source of events behind the seam of `sources`."""
