"""Static pods: pods that files on the node ask for, and their mirrors in the API.

`manifest` makes a pod of a file, `run` keeps the directory's pods and their mirrors.
"""
