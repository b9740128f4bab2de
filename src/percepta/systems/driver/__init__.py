"""What a driver does, seen by up to three cameras: spans of distracting activities (AI City challenge, track 3)."""
