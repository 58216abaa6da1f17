"""The callable: shapes, states, packing, backends, and the torch op."""
