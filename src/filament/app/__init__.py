"""Composition: roles from settings, in one process or many."""
