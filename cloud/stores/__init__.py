"""Where batches are kept: one folder per backend, and in it one file per port of `cloud.ports`."""
