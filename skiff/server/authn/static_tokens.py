"""The static token file: `token,user,uid[,"group1,group2"]`, one a line.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file.
"""

import csv

from skiff.server.seams import User


def parse_token_file(text: str, where: str = "token file") -> dict[str, User]:
    """Token → user. Raises ValueError naming the line that is wrong."""
    users: dict[str, User] = {}
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), start=1):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if len(row) < 3:
            raise ValueError(
                f"{where}, line {number}: needs at least the 3 columns token, user name, user uid;"
                f" found {len(row)}"
            )
        token, name, uid = row[0], row[1], row[2]
        if not token:
            raise ValueError(f"{where}, line {number}: the token is empty")
        groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
        users[token] = User(name, (*groups, "system:authenticated"), uid)
    return users
