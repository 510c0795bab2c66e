"""Sets of completion indexes, written as `0-3,7`. Pure.

Source: batch/v1 JobStatus.completedIndexes.
"""

from collections.abc import Collection


def parse(text: str, completions: int) -> set[int]:
    """The indexes below `completions` that the text names; what is malformed is left out."""
    result: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            continue
        stop = min(int(last or first), completions - 1)
        result.update(range(int(first), stop + 1))
    return result


def render(indexes: Collection[int]) -> str:
    """The shortest text for the indexes: runs of three and more as ranges, others one by one, as
    Kubernetes writes them."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), None]:
        if run and index == run[-1] + 1:
            run.append(index)
            continue
        if len(run) < 3:
            parts += map(str, run)
        else:
            parts.append(f"{run[0]}-{run[-1]}")
        run = [] if index is None else [index]
    return ",".join(parts)
