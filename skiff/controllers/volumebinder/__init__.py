"""The binder of persistent volumes: claims get volumes, and volumes whose claims went are reclaimed.

`plan.py` decides, for one claim or one volume; `run.py` writes what was decided; `disk.py` empties
directories of this machine, where a volume on it is to be deleted.
"""
