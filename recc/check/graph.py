"""Strongly connected components and their order, without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

#: How many places of a cycle are shown.
MOST_NOTES = 6


def components(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The strongly connected components of a graph, by Tarjan's algorithm.

    `edges[a]` are the nodes that a needs. A component comes after every component that it needs; nodes
    that are no key of `edges` are left out. Source: R. E. Tarjan, SIAM J. Comput. 1(2), 1972.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: set[str] = set()
    stack: list[str] = []
    found: list[list[str]] = []
    for root in edges:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, pending = work[-1]
            for other in pending:
                if other not in edges:
                    continue
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(edges[other])))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        group.append(member)
                        if member == node:
                            break
                    found.append(group[::-1])
    return found


def in_order(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes of a graph without cycles, each after what it needs, otherwise in the order of `edges`."""
    rank = {name: i for i, name in enumerate(edges)}
    names = list(edges)
    missing = {name: len({n for n in needs if n in rank}) for name, needs in edges.items()}
    users: dict[str, list[str]] = {name: [] for name in edges}
    for name, needs in edges.items():
        for need in {n for n in needs if n in rank}:
            users[need].append(name)
    ready = [rank[name] for name, count in missing.items() if count == 0]
    heapify(ready)
    out: list[str] = []
    while ready:
        name = names[heappop(ready)]
        out.append(name)
        for user in users[name]:
            missing[user] -= 1
            if missing[user] == 0:
                heappush(ready, rank[user])
    return out


def a_cycle(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The names along a cycle of a graph, in order, or nothing if it has none."""
    for group in components(edges):
        inside = set(group)
        if len(group) == 1 and group[0] not in edges[group[0]]:
            continue
        path = [group[0]]
        while True:
            step = next(n for n in edges[path[-1]] if n in inside)
            if step in path:
                return path[path.index(step) :]
            path.append(step)
    return []


def show_chain(cycle: list[str]) -> str:
    """A cycle from its first name back to it, shortened in the middle if it is long."""
    names = cycle if len(cycle) <= MOST_NOTES + 2 else [*cycle[:MOST_NOTES], "…", cycle[-1]]
    return " → ".join([*names, cycle[0]])


__all__ = ["MOST_NOTES", "a_cycle", "components", "in_order", "show_chain"]
