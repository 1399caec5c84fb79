"""Everything about the neural model that only a GPU can show, in one call of a few minutes."""
