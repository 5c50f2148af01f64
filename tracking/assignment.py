"""The one-to-one assignment of least cost: LAPJV (lap) and, as the second implementation, SciPy's.

Costs are rounded to multiples of 2⁻²⁰, so that sums are exact, and among assignments of equal total cost the one that
is first in lexicographic order (by row, then by column) is taken. The answer is therefore one and the same whatever
the solver, its version or the machine.
"""

from collections.abc import Callable
from typing import Literal

import lap
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

Solver = Literal["lap", "scipy"]

_GRID = 2.0**20
"""Steps per unit of cost. LAPJV takes 10⁶ for infinity, so costs stay in [-1, 0] and the grid is in the fraction."""


def assign(
    cost: NDArray[np.float64], *, limit: float, allowed: NDArray[np.bool_] | None = None, solver: Solver = "lap"
) -> list[tuple[int, int]]:
    """Pairs rows with columns at least total cost, where leaving a row and a column unpaired costs `limit`.

    So a pair is made only at a cost below `limit`, and a cheap pair may be given up if two others gain more.

    Args:
        cost: float64 `[N, M]`, finite; `limit - cost` at most 1.
        limit: cost at and above which no pair is made.
        allowed: bool `[N, M]`; False forbids a pair. None allows all.
        solver: `lap` or `scipy`; the answer is the same.

    Returns:
        (row, column) pairs in ascending order of row.
    """
    gain = np.maximum(np.rint((limit - cost) * _GRID) / _GRID, 0.0)
    if allowed is not None:
        gain = np.where(allowed, gain, 0.0)
    if gain.max(initial=0.0) > 1.0:
        raise ValueError(f"costs must be within 1 of the limit {limit}, got {cost.min()}")
    rows, columns = np.nonzero(gain)
    if not len(rows):
        return []
    solve = {"lap": _solve_lap, "scipy": _solve_scipy}[solver]
    # Gates leave few pairs: most groups of rows and columns that compete at all are a row and a column.
    num_rows, num_columns = gain.shape
    alone = (np.bincount(rows, minlength=num_rows)[rows] == 1) & (
        np.bincount(columns, minlength=num_columns)[columns] == 1
    )
    pairs: list[tuple[int, int]] = list(zip(rows[alone].tolist(), columns[alone].tolist(), strict=True))
    rows, columns = rows[~alone], columns[~alone]
    if len(rows):
        size = num_rows + num_columns
        begins = np.searchsorted(rows, np.arange(size + 1))
        graph = csr_matrix((np.ones(len(rows)), columns + num_rows, begins), shape=(size, size))
        labels = connected_components(graph, directed=False)[1]
        for label in np.unique(labels[rows]):
            member_rows = np.flatnonzero(labels[:num_rows] == label)
            member_columns = np.flatnonzero(labels[num_rows:] == label)
            group = gain[np.ix_(member_rows, member_columns)]
            pairs += [(int(member_rows[i]), int(member_columns[j])) for i, j in _solve_group(group, solve)]
    return sorted(pairs)


def total_cost(cost: NDArray[np.float64], pairs: list[tuple[int, int]], *, limit: float) -> float:
    """Sum of the pairs' costs plus `limit` for each pair fewer than the smaller side could make."""
    return float(sum(cost[i, j] for i, j in pairs) + limit * (min(cost.shape) - len(pairs)))


def _solve_lap(square: NDArray[np.float64]) -> NDArray[np.intp]:
    _, columns, _ = lap.lapjv(square)
    return np.asarray(columns, dtype=np.intp)


def _solve_scipy(square: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.asarray(linear_sum_assignment(square)[1], dtype=np.intp)


def _solve_group(
    gain: NDArray[np.float64], solve: Callable[[NDArray[np.float64]], NDArray[np.intp]]
) -> list[tuple[int, int]]:
    size = max(gain.shape)
    square = np.zeros((size, size))
    square[: gain.shape[0], : gain.shape[1]] = -gain
    partner = _first_in_order(square, solve(square))
    return [(i, int(partner[i])) for i in range(gain.shape[0]) if square[i, partner[i]] < 0.0]


def _first_in_order(cost: NDArray[np.float64], partner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Among all optimal assignments the first in lexicographic order, given one of them.

    All optimal assignments live in the graph of pairs whose reduced cost is 0 under optimal duals; walking the rows
    in order, each takes the first column that the rest can still complete (an alternating path decides).
    """
    size = len(cost)
    partner = partner.copy()
    # Optimal column duals: shortest paths in the residual graph (exact, costs are on a grid).
    relative = cost - cost[np.arange(size), partner][:, None]
    dual = np.zeros(size)
    for _ in range(size + 1):
        shorter = np.minimum(dual, (dual[partner][:, None] + relative).min(axis=0))
        if np.array_equal(shorter, dual):
            break
        dual = shorter
    tight = relative - dual[None, :] + dual[partner][:, None] == 0.0
    if np.count_nonzero(tight) == size:
        return partner
    # Real pairs come before empty ones (cost 0), which are all alike.
    rank = np.where(cost < 0.0, 0, size) + np.arange(size)
    free = np.ones(size, dtype=bool)  # columns of rows not yet settled
    for row in range(size):
        for column in sorted(np.flatnonzero(tight[row] & free), key=lambda j: int(rank[row, j])):
            if column == partner[row]:
                break
            if _reroute(row, int(column), partner, tight, free):
                break
        free[partner[row]] = False
    return partner


def _reroute(
    row: int, column: int, partner: NDArray[np.intp], tight: NDArray[np.bool_], free: NDArray[np.bool_]
) -> bool:
    """Gives `column` to `row` if its holder can be settled elsewhere; changes `partner` in place if so."""
    holder_of = {int(j): i for i, j in enumerate(partner)}
    goal = int(partner[row])
    start = holder_of[column]
    came_from: dict[int, tuple[int, int] | None] = {start: None}
    queue = [start]
    while queue:
        holder = queue.pop(0)
        for j in np.flatnonzero(tight[holder] & free):
            if j == goal:
                step: tuple[int, int] | None = (holder, int(j))
                while step is not None:
                    mover, target = step
                    step = came_from[mover]
                    partner[mover] = target
                partner[row] = column
                return True
            nxt = holder_of[int(j)]
            if nxt != row and nxt not in came_from:
                came_from[nxt] = (holder, int(j))
                queue.append(nxt)
    return False
