"""Certificate signing requests: nodes' own are approved, those for Kubernetes' own signers are issued
once approved, and every one goes in the end."""
