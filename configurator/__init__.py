"""The configurator: makes the desired state of the containers so (fetch, plan, apply, report)."""
