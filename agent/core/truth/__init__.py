"""Whether what a meter says can be true."""
