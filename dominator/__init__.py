"""The dominator: decides who may claim a domain, and tells the routers."""
