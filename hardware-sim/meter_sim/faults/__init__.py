"""What can go wrong on the wire and in a meter, seeded."""
