"""Store and plan in, tidy frames out."""
