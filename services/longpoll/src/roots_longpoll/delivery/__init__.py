"""A poll's life: who is held, what wakes it, and what it is answered. Nothing here does I/O."""
