"""Bytes to structs and protocol machines; no I/O. Decoders raise only ProtocolError."""
