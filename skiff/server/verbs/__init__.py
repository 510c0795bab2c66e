"""The verbs: generic over kinds. One file each; `table.py` says which verb is which function."""
