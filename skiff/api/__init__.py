"""What Kubernetes objects are: kinds, schemas, defaults, validation, patches. Pure: no I/O, no clock."""
