"""Electricity meters that do not exist: a household behind each, served over Modbus RTU (pty) and TCP.

Encoder and framing follow the same documents as `drivers`, but not its code, so that each checks the other.
"""
