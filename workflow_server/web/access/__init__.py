"""Access: tokens with names and roles, sessions of browsers, hosts, trusted proxies and limits."""
