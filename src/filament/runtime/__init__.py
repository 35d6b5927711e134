"""The asyncio floor: clock, supervised tasks, transports, HTTP serving, settings, logging."""
