"""Implement `base.Session` and `base.Backend` for each kind of database, in a file each."""
