"""Which slot is read when, on a line that meters share; what is remembered of a meter."""
