"""Configuration objects: the kinds registry, objects, commits, snapshots and cross-object checks.

Pure: no I/O, no clock. Intent and allocations live here; nothing derived ever does.
"""
