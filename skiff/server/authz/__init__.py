"""Authorization: may this user do that? Modes, RBAC, the node authorizer, access reviews."""
