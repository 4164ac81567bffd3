"""The soak: what the README promises of a run, tried on real processes for forty minutes."""
