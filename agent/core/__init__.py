"""What the box decides, pure: time and randomness are arguments."""
