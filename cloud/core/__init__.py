"""What the cloud decides, pure: ledger, claims, conflicts, answer, invariants."""
