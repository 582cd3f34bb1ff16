"""What a threshold with hold times says of one series, by looking for whole stretches; slow and obvious."""

from __future__ import annotations


def steps(rows, above, clear, for_s, clear_for_s):
    """(state, second) of each step.

    Args:
        rows: (second, value) in order of arrival; what is not newer than all before it says nothing.
        above: the level.
        clear: the level at or below which it is over.
        for_s: how long it must hold.
        clear_for_s: how long it must be over.
    """
    newer = []
    for time, value in rows:
        if not newer or time > newer[-1][0]:
            newer.append((time, value))
    found, i = [], 0
    while i < len(newer):
        if newer[i][1] <= above:
            i += 1
            continue
        held = next((j for j in range(i, len(newer)) if newer[j][0] - newer[i][0] >= for_s), None)
        back = next((j for j in range(i, len(newer)) if newer[j][1] <= above), None)
        if for_s:
            found.append(("pending", newer[i][0]))
        if back is not None and (held is None or back <= held):
            found.append(("resolved", newer[back][0]))
            i = back + 1
        elif held is None:
            break
        else:
            found.append(("firing", newer[held][0]))
            end = next(
                (k for k in range(held + 1, len(newer)) if _over(newer[held + 1 : k + 1], clear, clear_for_s)), None
            )
            if end is None:
                break
            found.append(("resolved", newer[end][0]))
            i = end + 1
    return found


def _over(rows, clear, clear_for_s):
    """Whether the last rows have been at or below the clear level for long enough, and the very last one is."""
    since = None
    for time, value in reversed(rows):
        if value > clear:
            break
        since = time
    return since is not None and rows[-1][0] - since >= clear_for_s
