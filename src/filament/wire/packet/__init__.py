"""Headers of packets: bytes to frozen structs and back, one module per protocol.

`decode_x` reads a header from the front of its argument, which may be longer, and raises nothing
but `ProtocolError`; `encode_x` is its inverse. Addresses, MACs and ports are ints. Payloads are the
caller's: lengths and checksums over them are computed by the `*_packet` builders of `frames`.
"""
