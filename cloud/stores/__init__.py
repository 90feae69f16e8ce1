"""Where batches are kept: one package per backend."""
