"""The real relay and runtime on a virtual clock, against models of the broker and the database, with faults; every seed replays exactly."""
