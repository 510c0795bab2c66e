"""Certificate signing requests: those for Kubernetes' own signers are issued once approved, and every
one goes in the end."""
