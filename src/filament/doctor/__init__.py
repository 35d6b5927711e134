"""Explanation: trace a packet through the tables the agents really hold."""
