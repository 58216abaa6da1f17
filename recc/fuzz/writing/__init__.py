"""Writing random programs: words, values of a known size, stages of every kind, outputs."""
