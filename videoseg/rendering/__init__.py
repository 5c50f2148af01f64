"""Pictures for people: the overlay of tracks over a frame, and sheets of frames."""

from videoseg.rendering.colours import segment_colour, track_colour
from videoseg.rendering.contact_sheet import contact_sheet
from videoseg.rendering.overlay import OverlayRenderer, render_overlay

__all__ = ["OverlayRenderer", "contact_sheet", "render_overlay", "segment_colour", "track_colour"]
