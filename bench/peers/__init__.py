"""Servers to compare with, each as small as it can be."""
