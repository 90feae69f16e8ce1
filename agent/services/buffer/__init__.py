"""From records that wait in memory to sealed batches; the thread that owns the buffer."""
