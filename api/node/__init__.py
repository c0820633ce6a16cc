"""The node's front door: desired state out, facts in. Plain Django, to keep its process small."""
