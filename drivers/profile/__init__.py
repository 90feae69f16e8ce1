"""The format of a meter profile: parsed, checked, reviewed, written."""
