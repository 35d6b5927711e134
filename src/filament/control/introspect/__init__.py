"""The control node's introspect (port 8083): what TF's control node answers, in its words."""

from __future__ import annotations

from filament.control.introspect.answers import control_introspect

__all__ = ["control_introspect"]
