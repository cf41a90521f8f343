"""What attacks on one model by the same queries compute once: points in a space, and the distances between them."""

from collections import OrderedDict

import torch

from mia_core.distances import KEPT_ELEMENTS, Search
from mia_core.spaces import Space, embedded


class Shared:
    """Searches among the samples of one model, by space; the least recently used are dropped beyond `KEPT_ELEMENTS`."""

    def __init__(self) -> None:
        self._searches: OrderedDict[Space, Search] = OrderedDict()

    def search(self, space: Space, queries: torch.Tensor, samples: torch.Tensor) -> Search:
        """Among at least these samples [N,C,H,W], the first of the model's fixed stream, for queries [Q,C,H,W]."""
        found = self._searches.pop(space, None)
        if found is None or len(found.y) < len(samples):
            points = embedded(space, queries) if found is None else found.x
            found = Search(points, embedded(space, samples))
        while self._searches and found.elements + sum(s.elements for s in self._searches.values()) > KEPT_ELEMENTS:
            self._searches.popitem(last=False)
        self._searches[space] = found
        return found
