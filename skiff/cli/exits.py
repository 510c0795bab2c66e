"""Exit codes and the one error that ends a command with a message.

0 done; 1 failed; 2 wrong usage (argparse); 3 already running; 4 not running; 5 a port is in use;
6 something that is needed is missing; 7 not permitted; 8 the state directory is unusable;
9 an address range is in use.
"""

FAILED = 1
USAGE = 2
ALREADY_RUNNING = 3
NOT_RUNNING = 4
PORT_IN_USE = 5
MISSING = 6
NOT_PERMITTED = 7
BAD_STATE = 8
RANGE_IN_USE = 9


class CommandError(Exception):
    """Ends the command: `message` goes to stderr after `skiff: `, `code` is the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
