"""Distros: the read-only root file systems of containers; built aside, swapped in whole."""
