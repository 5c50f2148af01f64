"""`CategoryEvidence`: what a track has been taken for so far; that decides its category, not the last label."""

import math
from dataclasses import dataclass, field

from tracking.settings import TrackerSettings

Distribution = tuple[tuple[int, float], ...]
"""(category, probability) pairs, categories distinct."""

REPORTED = 5
"""Categories that a tracked segment reports, as many as the results on disk keep."""


@dataclass(slots=True)
class CategoryEvidence:
    """A decayed sum of class probabilities; the most supported category wins, with a margin against flicker."""

    category: int = -1
    """The category decided on; -1 before the first sighting."""
    weights: dict[int, float] = field(default_factory=dict)
    """Category -> evidence, largest first (by category where equal); bounded by `evidence_categories`."""

    def add(self, distribution: Distribution, settings: TrackerSettings) -> bool:
        """Adds one sighting; returns whether the category changed (never at the first sighting)."""
        for category in self.weights:
            self.weights[category] *= settings.evidence_memory
        for category, probability in distribution:
            self.weights[category] = self.weights.get(category, 0.0) + probability
        order = sorted(self.weights.items(), key=lambda item: (-item[1], item[0]))
        self.weights = dict(order[: settings.evidence_categories])
        leader, leading = order[0]
        first = self.category == -1
        if first or leading > settings.evidence_margin * self.weights.get(self.category, 0.0):
            changed = not first and leader != self.category
            self.category = leader
            return changed
        return False

    def posterior(self) -> Distribution:
        """The strongest categories with their shares of all evidence, strongest first."""
        total = sum(self.weights.values())
        if total <= 0.0:
            return ((self.category, 1.0),)
        return tuple((category, weight / total) for category, weight in list(self.weights.items())[:REPORTED])

    def likeness(self, distribution: Distribution) -> float:
        """Bhattacharyya coefficient of the evidence and a segment's distribution: 0 = disjoint, 1 = equal."""
        own = sum(self.weights.values())
        other = sum(probability for _, probability in distribution)
        if own <= 0.0 or other <= 0.0:
            return 0.0
        common = 0.0
        for category, probability in distribution:
            weight = self.weights.get(category)
            if weight is not None:
                common += math.sqrt(weight * probability)
        return min(common / math.sqrt(own * other), 1.0)
