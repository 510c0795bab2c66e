"""API Priority and Fairness: which request goes first when there are many.

A request is classified by the first FlowSchema (by precedence, then name) that matches its user and what it
asks for; the schema names a PriorityLevelConfiguration. A level has seats: its share of SEATS. A request
that has to wait for something (a write, as it waits for the disk) holds a seat meanwhile; reads are answered
on the spot and hold none, but stand in line where their level has no seat left. Where all seats are taken
and none can be borrowed, a level of type Reject refuses (429), one of type Queue lets the request wait in
one of its queues, which take turns. Long-running requests other than watches are left alone.

`classify.py` matches (pure), `levels.py` counts seats and queues, `control.py` follows the objects.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/.
"""

from skiff.server.flow.control import FlowControl
from skiff.server.flow.levels import Flow, Level, Rejected

__all__ = ["Flow", "FlowControl", "Level", "Rejected"]
