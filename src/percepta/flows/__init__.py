"""Programs of several systems, which are handed in by whoever runs them; each says SYSTEMS."""
