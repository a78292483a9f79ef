"""From a store of results to tables: pandas only, no torch, no Ray."""
