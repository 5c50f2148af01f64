"""One frame as the published code computes it, work and waste alike: what the exact engine is measured against.

Written from the specification, on the weights of an `Odise`. Windows go through one at a time; the UNet's last block
and output, the decoder's two largest levels and the text encoder run although nobody reads what they give; attention
holds its weights; all ten prediction heads pool their masks, twice each; masks are resized whole and asked one by one.
Nobody should use it for anything but comparison.
"""

from odise_frame.as_reference.frame import AsReference, ReferenceResult

__all__ = ["AsReference", "ReferenceResult"]
