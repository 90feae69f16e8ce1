"""Which batch is sent when, and what a receipt lets the box delete."""
