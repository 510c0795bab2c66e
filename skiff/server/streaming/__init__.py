"""What the API server passes through to nodes, pods and services instead of answering itself.

`table.connectors(...)` gives one connector for each such subresource: pods/log, pods/exec,
pods/attach, pods/portforward, and the HTTP proxies of nodes, pods and services. Bytes pass raw
wherever the client's protocol is one that the node understands; two protocols end here and are
translated (`translate.py`, `tunnel.py`).
"""
