"""The words that both ends speak: record, batch, codec, receipt, topics. Standard library only."""
