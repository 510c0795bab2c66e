"""Cluster DNS: every answer about the cluster is bytes that were made before it was asked for."""
