"""Run the real relay and runtime on a virtual clock, with faults.

Models replace the broker and the database. Every seed replays exactly.
"""
