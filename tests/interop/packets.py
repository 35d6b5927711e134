"""Packets from namespaces that are no workloads."""

import subprocess

from filament.testing.lab import namespaces


def ping(place, address):
    """Whether every echo of three comes back."""
    with namespaces.inside(place):
        command = ["ping", "-nq", "-c3", "-i0.2", "-W1", address]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
