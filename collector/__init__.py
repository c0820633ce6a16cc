"""The collector: measures containers, domains and the node, without any right."""
