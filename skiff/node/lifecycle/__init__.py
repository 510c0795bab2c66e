"""The pure core of the kubelet: what a pod's state means and what to do next.

`model` says what is known of a pod, `plan` what to do while it lives, `termination` how to end it,
`status` and `conditions` what to report, `backoff` how long to wait, `admission` whether to take it.
Nothing here does I/O or reads a clock.
"""
