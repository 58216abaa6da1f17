"""Every arrow between two ways of computing the same recurrence, tested by itself."""
