"""The temporal feature cache: what the diffusion backbone made of a stream's windows, kept, moved along, and computed
anew only where it must be."""

from odise_frame.temporal_cache.cost import CostTable, Ledger, Work, cost_table
from odise_frame.temporal_cache.loop import TemporalCache, WindowNetwork, WindowRequest, WindowResult
from odise_frame.temporal_cache.planner import FramePlan, Planner, Situation
from odise_frame.temporal_cache.settings import MODES, CacheSettings
from odise_frame.temporal_cache.state import CacheState, state_bound

__all__ = [
    "MODES",
    "CacheSettings",
    "CacheState",
    "CostTable",
    "FramePlan",
    "Ledger",
    "Planner",
    "Situation",
    "TemporalCache",
    "WindowNetwork",
    "WindowRequest",
    "WindowResult",
    "Work",
    "cost_table",
    "state_bound",
]
