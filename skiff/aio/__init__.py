"""An asyncio toolkit that knows nothing of Kubernetes."""
