"""Where the published model does something that a fresh one need not do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirks:
    """What changes numbers, but nothing that was learnt. A model keeps to those that it was made with."""

    captioner_antialias: bool
    """Whether windows are shrunk for the captioner with an antialiasing filter. The published weights were trained
    and measured without."""
    stretched_masks: bool
    """Whether the mask classifier stretches the masks of the padded frame over the unpadded image, so that masks and
    image lie askew wherever there is padding. The published numbers were measured so."""


PUBLISHED = Quirks(captioner_antialias=False, stretched_masks=True)
"""As the published model: what its weights and numbers need."""

MENDED = Quirks(captioner_antialias=True, stretched_masks=False)
"""As one would do it: what models of our own use."""
