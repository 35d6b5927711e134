"""The nodes of the compiler's graph: per file some tables, and how each follows the ones before.

A node's `run` makes its table from nothing; its `update` returns the rows that a change of its
inputs may change, None for those that are gone. Both give the same table (`Compiler.verify`).
"""
