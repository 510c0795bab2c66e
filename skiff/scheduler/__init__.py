"""Which node for which pod: columns of node state, vector filters and scores, one plan a pod."""
