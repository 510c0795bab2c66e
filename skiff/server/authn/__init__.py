"""Authentication: who sent a request? Certificates, tokens, impersonation, and issuing tokens."""
