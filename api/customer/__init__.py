"""The customers' and operators' front door: the HTTP API below /api/v1/."""
