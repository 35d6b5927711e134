"""Durable storage behind one contract; knows objects, not kinds."""
