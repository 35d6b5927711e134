"""The configuration API role: TF's VNC REST dialect over the store."""
