"""What differs between databases: one file each, behind `base.Session`."""
