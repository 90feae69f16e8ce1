"""From the message that arrived to the receipt: `ingest.py` names the steps in their order."""
