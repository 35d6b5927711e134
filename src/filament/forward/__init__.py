"""The data plane, thought: row formats, ports and routes to rows, and the reference interpreter.

Pays three times: oracle of the BPF programs, data plane of the simulator, engine of `trace`.
"""
