"""Tables: one file each, from numbers to words."""
