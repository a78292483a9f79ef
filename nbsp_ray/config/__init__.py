"""Settings: the schema, what it says of itself, and its JSON schema for editors."""
