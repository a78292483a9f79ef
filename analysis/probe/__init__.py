"""What a probe found: as tidy frames, as tables on a page, and as a figure."""
