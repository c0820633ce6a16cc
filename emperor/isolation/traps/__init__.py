"""Attacks that need the node's own hands: something is laid inside, then root acts."""
