"""What becomes of records in the buffer: numbered, sealed, thinned, accounted for."""
