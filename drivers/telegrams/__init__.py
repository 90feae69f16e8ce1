"""Meters that are no Modbus: framers and decoders of their telegrams, pure, and the lines that carry them."""
