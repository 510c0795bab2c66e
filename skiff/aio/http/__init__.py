"""HTTP/1.1, both ends: messages, server, client, connection upgrades."""
