"""The agent's introspect (port 8085): what TF's agent answers, in its words."""

from __future__ import annotations

from filament.agent.sandesh.answers import agent_introspect

__all__ = ["agent_introspect"]
