"""`videoseg bench tracking`: our tracker, public trackers and the oracle on the same degraded segments.

`worlds` makes videos with their truth, `degradation` spoils their segments, `rivals` and `rows` are the trackers,
`scoring` measures, `report` joins them. Needs the extra `bench` for the public trackers; without it their rows are
left out.
"""
