"""Public test kit: labs of namespaces, the simulator, builders."""
