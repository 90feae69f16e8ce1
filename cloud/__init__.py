"""The other side: receiver, infrastructure, and the local stand-in for AWS."""
