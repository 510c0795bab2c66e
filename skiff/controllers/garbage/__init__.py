"""The garbage collector: objects go when their owners are gone, and owners wait where they must.

`graph.py` is the pure core: who owns whom, fed by informers of every resource; it says which
objects to look at again. `run.py` looks at them: deletes, waits, orphans.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/.
"""
