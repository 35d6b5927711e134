"""Intent to plan: a pure function of configuration and allocations at one revision.

Names what it needs (slots) and never chooses a number. No I/O, no clock.
"""
