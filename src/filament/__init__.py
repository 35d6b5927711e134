"""Filament: network virtualisation as one Python package with an eBPF vRouter."""

__version__ = "0.1.0"
