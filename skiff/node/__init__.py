"""The kubelet: makes a machine match its pods."""
