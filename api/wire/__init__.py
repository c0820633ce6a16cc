"""The front door for clients of the ancestor: its wire format below /api/, see docs/wire.md."""
